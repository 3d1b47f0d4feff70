//! Images to R-MAC descriptors; the only room that links libtorch.
