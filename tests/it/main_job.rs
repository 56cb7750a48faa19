//! The main job over real sockets.
