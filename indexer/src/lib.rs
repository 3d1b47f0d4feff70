//! Train, whiten, build, evaluate; the only room that links FAISS.
