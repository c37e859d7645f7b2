//! Who vouches for whom: the authorities of webhook and tiers, what they sign, and how one follows another.

pub mod authority;
pub mod bundle;
pub mod certificate;
pub mod keyring;
pub mod leaf;
pub mod tier;
