//! The binary as it stands at a public address: what its answers say besides their content, and what it refuses.

mod fields;
mod served;
