//! Moves partials and points between tiers: client, import server, routing and discovery of members.
