//! The house rules that a program can check: the direction of modules, and the tidiness of text.

mod circles;
mod features;
mod modules;
mod tidy;
