//! What is flooded, and how much of it: budgets, and what keeps a client's flooding back.

pub(crate) mod budgets;
pub(crate) mod gate;
pub(crate) mod news;
pub(crate) mod shared;
