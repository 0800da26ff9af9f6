//! Addresses for what must know its own before it listens: reserved, so that two tests, of one process or
//! of two, never take the same.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context as _, Result};
use tokio::net::TcpSocket;

/// Below the ports that Linux gives to outgoing connections (32768 and up, unless it is told otherwise).
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A TCP address on loopback that nobody else of ours takes while this value lives.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    // The UDP port of the same number is free of use: holding it is the reservation.
    _reservation: UdpSocket,
}

impl Reserved {
    /// Reserves the next free address.
    pub fn next() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        (0..COUNT)
            .map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT)
            .find_map(|port| {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let reservation = UdpSocket::bind(address).ok()?;
                nobody_listens(address)?;
                Some(Self {
                    address,
                    _reservation: reservation,
                })
            })
            .context("no address is free")
    }

    /// The address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds without listening: a socket that listens would be inherited by a child that is being started just
/// then, and hold the address until that child is what it shall be.
fn nobody_listens(address: SocketAddr) -> Option<()> {
    let probe = TcpSocket::new_v4().ok()?;
    probe.set_reuseaddr(true).ok()?;
    probe.bind(address).ok()
}
