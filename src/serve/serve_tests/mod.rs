//! Tests of the server with a simulated world that knows what every process did.

mod bench;
mod everything;
mod hostile;
mod running;
mod server;
mod view;
mod world;
