//! The process-wide module: initialise, finalise, slots, handle maps.
