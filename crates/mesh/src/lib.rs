//! What the mesh is and what it decides.
