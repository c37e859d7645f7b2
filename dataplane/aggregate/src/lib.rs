//! Samples and partials to the points and partials of one interval.
