//! Attackers of the lab: each sends from a machine of its own, at about 100 Mbit/s, while something
//! else is done, and does one thing wrong.
//!
//! What they know is what such a person would know: the wire format and what is on the wire, and,
//! where it says so, the keys of a host that was broken into.
#![expect(clippy::disallowed_methods, reason = "it sends real datagrams for a real time")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::clock::unix_seconds;
use common::id::{BlockIndex, BootNonce, HostName, SessionId, Slot};
use common::seal::{HostKeys, HostSeal, MemberSeal, SenderKeys, SenderSeal, Stream, TAG_BYTES};
use common::time::Timestamp;
use common::wire::{
    Announce, BlockCount, CommonHeader, Join, Kind, KindSet, Message, Need, Order, Poll, Sweep,
    SymbolHeader, VERSION,
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use crate::lab::{Family, Node};

/// Bytes that leave in a row, and the time until the next: 100 Mbit/s.
const BURST_BYTES: usize = 25_000;
const BURST_TIME: Duration = Duration::from_millis(2);
/// Datagrams that are remembered to be sent again.
const RECORDED_MAX: usize = 2048;

/// What an attacker does.
#[derive(Debug, Clone)]
pub enum Attack {
    /// Noise, with our magic number and without.
    Garbage,
    /// Sends what it overhears again, to the groups and to the sender.
    Replay,
    /// Asks the sender for everything in the name of every slot, without a key.
    ForgedNeeds,
    /// Orders hosts to switch and to stop, and announces a session of its own; with the keys of a
    /// site of its own, or with the group's key, which every host holds.
    ForgedOrders(Arc<SenderKeys>),
    /// Joins with the keys of a host that was broken into, and asks for everything all the time.
    Liar(HostName, Arc<HostKeys>),
    /// Sends false symbols with the group's key, from its own address.
    FalseSymbols(Arc<SenderKeys>),
    /// The same from the sender's address, which takes a raw socket.
    FalseSender(Arc<SenderKeys>),
    /// Asks all hosts in the sender's name, from its address.
    FalsePolls(Arc<SenderKeys>),
    /// Announces a session of its own of the same app, that began later, and sends its symbols to
    /// the same group.
    SecondSender(Arc<SenderKeys>),
}

/// Runs `work` while somebody attacks from `node`; what it gave, and the datagrams that were sent
/// meanwhile. Unlimited, the attacker sends as fast as the machine lets it.
///
/// # Panics
/// When the machine gives no socket, or `work` does.
pub fn beside<T: Send>(
    node: &Node,
    attack: &Attack,
    is_limited: bool,
    work: impl FnOnce() -> T,
) -> (T, u64) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let address = node.address(Family::V4);
            node.run_inside(|| Attacker::new(address, attack).run(&stop, is_limited))
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let sent = attacker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        (done.unwrap_or_else(|cause| std::panic::resume_unwind(cause)), sent)
    })
}

/// What was said in a session, in order: where to, and the datagram.
pub type Recording = Vec<(SocketAddr, Vec<u8>)>;

/// Runs `work` while `node` writes down what goes to the groups.
///
/// # Panics
/// When the machine gives no socket, or `work` does.
pub fn record<T: Send>(node: &Node, work: impl FnOnce() -> T) -> (T, Recording) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let listener = scope.spawn(|| {
            let IpAddr::V4(address) = node.address(Family::V4) else { panic!("it is IPv4") };
            node.run_inside(|| write_down(address, &stop))
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        (done, listener.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
    })
}

fn write_down(address: Ipv4Addr, stop: &AtomicBool) -> Recording {
    let control = listen(Family::V4.group(), address);
    let (mut data, mut recording) = (None::<(SocketAddr, UdpSocket)>, Recording::new());
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        while let Ok((bytes, _)) = control.recv_from(&mut buffer) {
            let inner = &buffer[..bytes.saturating_sub(TAG_BYTES)];
            if let Ok((_, Message::Announce(announce))) = Message::parse(inner) {
                let group = announce.data_group;
                data.get_or_insert_with(|| (group, listen(group, address)));
            }
            recording.push((Family::V4.group(), buffer[..bytes].to_vec()));
        }
        if let Some((group, socket)) = &data {
            while let Ok((bytes, _)) = socket.recv_from(&mut buffer) {
                recording.push((*group, buffer[..bytes].to_vec()));
            }
        }
        thread::sleep(Duration::from_micros(200));
    }
    recording
}

/// Plays a recording from `node`, a millisecond after every eighth datagram.
///
/// # Panics
/// When the machine gives no socket.
pub fn play(node: &Node, recording: &[(SocketAddr, Vec<u8>)]) {
    let IpAddr::V4(address) = node.address(Family::V4) else { panic!("it is IPv4") };
    let socket = node.run_inside(|| speak(address));
    for (nth, (to, datagram)) in recording.iter().enumerate() {
        // What does not leave is as good as lost.
        let _ = socket.send_to(datagram, to);
        if nth % 8 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A socket for whole packets, which leave where `address` is.
fn speak_as_another(address: Ipv4Addr) -> OwnedFd {
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW));
    let raw = raw.expect("the lab runs as root");
    rustix::io::ioctl_fionbio(&raw, true).expect("a socket can");
    rustix::net::sockopt::set_ip_multicast_if(&raw, &address).expect("the address is ours");
    raw
}

/// An IPv4 packet with a UDP datagram; the kernel fills in the header's checksum, and a UDP
/// checksum of zero is none.
fn packet(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let (udp_bytes, ip_bytes) = (8 + payload.len() as u16, 28 + payload.len() as u16);
    let mut packet = vec![0x45, 0];
    packet.extend(ip_bytes.to_be_bytes());
    // No identification, no fragments, one hop, UDP.
    packet.extend([0, 0, 0x40, 0, 1, 17, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    for number in [from.port(), to.port(), udp_bytes, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend_from_slice(payload);
    packet
}

/// A socket of its own, for groups too.
fn speak(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).expect("a socket of its own");
    socket.set_nonblocking(true).expect("a socket can");
    rustix::net::sockopt::set_ip_multicast_if(&socket, &address).expect("the address is ours");
    socket
}

/// What it knows of the session that it attacks.
struct Victim {
    id: SessionId,
    announce: Box<Announce>,
    group: SocketAddr,
    /// What closes datagrams as its sender does, where the attacker has such keys.
    seal: Option<SenderSeal>,
    /// What closes and opens as the host that was broken into does.
    member: Option<MemberSeal>,
    slot: Option<Slot>,
}

struct Attacker<'a> {
    attack: &'a Attack,
    address: Ipv4Addr,
    control: UdpSocket,
    data: Option<UdpSocket>,
    own: UdpSocket,
    /// For packets with another's address.
    raw: Option<OwnedFd>,
    rng: StdRng,
    victim: Option<Victim>,
    recorded: Vec<Vec<u8>>,
    seq: u32,
}

impl<'a> Attacker<'a> {
    fn new(address: IpAddr, attack: &'a Attack) -> Self {
        let IpAddr::V4(address) = address else { panic!("attacks are over IPv4") };
        Self {
            attack,
            address,
            control: listen(Family::V4.group(), address),
            data: None,
            own: speak(address),
            raw: matches!(attack, Attack::FalseSender(_) | Attack::FalsePolls(_))
                .then(|| speak_as_another(address)),
            rng: StdRng::seed_from_u64(7),
            victim: None,
            recorded: Vec::new(),
            seq: 0,
        }
    }

    fn run(mut self, stop: &AtomicBool, is_limited: bool) -> u64 {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let (began, mut bytes) = (Instant::now(), 0);
            self.listen();
            while bytes < BURST_BYTES {
                let Some((to, datagram)) = self.next() else { break };
                bytes += datagram.len().max(64);
                // A full queue is what a flood is about: such a send is not counted.
                sent += u64::from(self.send(&datagram, to).is_ok());
            }
            if is_limited || bytes == 0 {
                thread::sleep(BURST_TIME.saturating_sub(began.elapsed()));
            }
        }
        sent
    }

    fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        let sender = self.victim.as_ref().map(|victim| victim.announce.feedback);
        match (&self.raw, sender, to) {
            (Some(raw), Some(SocketAddr::V4(from)), SocketAddr::V4(to)) => {
                let packet = packet(from, to, datagram);
                Ok(sendto(raw, &packet, SendFlags::empty(), &SocketAddrV4::new(*to.ip(), 0))?)
            }
            _ => self.own.send_to(datagram, to),
        }
    }

    fn listen(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((bytes, _)) = self.control.recv_from(&mut buffer) {
            self.record(&buffer[..bytes]);
            self.meet(&buffer[..bytes]);
        }
        let mut heard = 0;
        while let Some(Ok((bytes, _))) = self.data.as_ref().map(|it| it.recv_from(&mut buffer)) {
            self.record(&buffer[..bytes]);
            heard += 1;
            if heard == 64 {
                break;
            }
        }
        while let Ok((bytes, _)) = self.own.recv_from(&mut buffer) {
            self.be_answered(&mut buffer[..bytes]);
        }
    }

    fn record(&mut self, datagram: &[u8]) {
        if self.recorded.len() < RECORDED_MAX {
            self.recorded.push(datagram.to_vec());
        } else {
            let at = self.rng.random_range(0..RECORDED_MAX);
            self.recorded[at] = datagram.to_vec();
        }
    }

    /// Announces are signed and not secret: whoever hears one can read it.
    fn meet(&mut self, datagram: &[u8]) {
        let inner = &datagram[..datagram.len().saturating_sub(TAG_BYTES)];
        let Ok((mut header, Message::Announce(mut announce))) = Message::parse(inner) else {
            return;
        };
        let is_own = announce.feedback.ip() == IpAddr::V4(self.address);
        if is_own || matches!((self.attack, &self.victim), (Attack::SecondSender(_), Some(_))) {
            return;
        }
        if let Some(victim) = self.victim.as_mut().filter(|it| it.id == header.session) {
            victim.announce = announce;
            return;
        }
        self.data = Some(listen(announce.data_group, self.address));
        let seal = match self.attack {
            Attack::ForgedOrders(keys)
            | Attack::FalseSymbols(keys)
            | Attack::FalseSender(keys)
            | Attack::FalsePolls(keys) => {
                Some(SenderSeal::new(Arc::clone(keys), header.session, &announce))
            }
            Attack::SecondSender(keys) => {
                Some(self.begin_session(keys, &mut header, &mut announce))
            }
            _ => None,
        };
        let member = match self.attack {
            Attack::Liar(_, keys) => {
                let seal = HostSeal::new(Arc::clone(keys));
                seal.member(&header, &announce, NONCE, Timestamp::ZERO).ok()
            }
            _ => None,
        };
        let (id, group) = (header.session, announce.data_group);
        self.victim = Some(Victim { id, announce, group, seal, member, slot: None });
    }

    /// Makes of an announce that was overheard one of its own.
    fn begin_session(
        &self,
        keys: &Arc<SenderKeys>,
        header: &mut CommonHeader,
        announce: &mut Announce,
    ) -> SenderSeal {
        header.session = SessionId(header.session.0.wrapping_add(1).max(1));
        announce.sender.started += 1;
        announce.salt = [7; 16];
        announce.feedback = self.own.local_addr().expect("it is bound");
        SenderSeal::new(Arc::clone(keys), header.session, announce)
    }

    fn be_answered(&mut self, datagram: &mut [u8]) {
        let Some(victim) = &mut self.victim else { return };
        let Some(member) = &mut victim.member else { return };
        let opened = member.open(Stream::Alone, Timestamp::ZERO, unix_seconds(), datagram);
        if let Ok((_, Message::JoinAck(ack))) = opened.and_then(Message::parse) {
            victim.slot = Some(ack.slot);
        }
    }

    /// What it sends next, and where to; nothing while it knows of no session.
    fn next(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.seq = self.seq.wrapping_add(1);
        match self.attack {
            Attack::Garbage => Some(self.garbage()),
            Attack::Replay => self.replay(),
            Attack::ForgedNeeds => self.forged_need(),
            Attack::ForgedOrders(_) => self.forged_order(),
            Attack::Liar(name, _) => self.lie(name),
            Attack::FalseSymbols(_) | Attack::FalseSender(_) => self.false_symbol(),
            Attack::FalsePolls(_) => self.false_poll(),
            Attack::SecondSender(_) if self.seq.is_multiple_of(64) => self.rival_announce(),
            Attack::SecondSender(_) => self.false_symbol(),
        }
    }

    /// The groups and the sender, in turn.
    fn target(&self) -> SocketAddr {
        let control = Family::V4.group();
        match &self.victim {
            Some(victim) => {
                let all = [control, victim.group, victim.announce.feedback];
                all[self.seq as usize % all.len()]
            }
            None => control,
        }
    }

    fn garbage(&mut self) -> (SocketAddr, Vec<u8>) {
        let mut datagram = vec![0; self.rng.random_range(1..1473)];
        self.rng.fill_bytes(&mut datagram);
        if self.seq.is_multiple_of(2) && datagram.len() > 16 {
            datagram[..2].copy_from_slice(&common::wire::MAGIC.to_be_bytes());
            (datagram[2], datagram[3]) = (datagram[2] % 24, VERSION);
            if let Some(victim) = &self.victim {
                datagram[4..8].copy_from_slice(&victim.id.0.to_be_bytes());
            }
        }
        (self.target(), datagram)
    }

    fn replay(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        if self.recorded.is_empty() {
            return None;
        }
        let at = self.rng.random_range(0..self.recorded.len());
        Some((self.target(), self.recorded[at].clone()))
    }

    fn forged_need(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let slot = Slot(self.seq % 10);
        let tag = self.rng.random::<[u8; TAG_BYTES]>();
        let victim = self.victim.as_ref()?;
        let need = need(victim, slot, BootNonce(self.seq.into()));
        let mut datagram = Vec::new();
        need.emit(victim.id, self.seq, 1, &mut datagram);
        datagram.extend(tag);
        Some((victim.announce.feedback, datagram))
    }

    fn forged_order(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let (seq, wall) = (self.seq, unix_seconds());
        let victim = self.victim.as_mut()?;
        let order =
            Order { release: victim.announce.release, issue: 9, at_us: 0, reason: "".into() };
        let seal = victim.seal.as_mut()?;
        let mut datagram = Vec::new();
        if seq.is_multiple_of(4) {
            let announce = Message::Announce(victim.announce.clone());
            seal.close_announce(wall, &announce, &mut datagram);
            return Some((Family::V4.group(), datagram));
        }
        let message = match seq % 4 {
            1 => Message::Activate(order),
            2 => Message::Cancel(order),
            _ => Message::Stop(order),
        };
        seal.close_message(Stream::Data, seq, wall, &message, &mut datagram).ok()?;
        Some((victim.group, datagram))
    }

    fn rival_announce(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let victim = self.victim.as_mut()?;
        // No two of a sender are the same.
        victim.announce.sent_at_us = self.seq.into();
        let announce = Message::Announce(victim.announce.clone());
        let mut datagram = Vec::new();
        victim.seal.as_ref()?.close_announce(unix_seconds(), &announce, &mut datagram);
        Some((Family::V4.group(), datagram))
    }

    /// Names forty blocks, and asks everybody for its status.
    fn false_poll(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let victim = self.victim.as_mut()?;
        let blocks = victim.announce.geometry.block_count().min(40);
        let counts = (0..blocks).map(BlockIndex);
        let counts = counts.map(|block| BlockCount { block, sent: 0, announced: u32::MAX });
        let ranges = vec![(Slot(0), Slot(99_999))];
        let message = Message::Poll(Poll {
            id: self.seq,
            sent_at_us: 0,
            grtt: Duration::ZERO,
            backoff: Duration::ZERO,
            group_size: 1,
            blocks: counts.collect(),
            sweep: Some(Sweep { id: self.seq, slot: Duration::ZERO, ranges }),
        });
        let mut datagram = Vec::new();
        let seal = victim.seal.as_mut()?;
        let wall = unix_seconds();
        seal.close_message(Stream::Data, self.seq, wall, &message, &mut datagram).ok()?;
        Some((victim.group, datagram))
    }

    fn lie(&mut self, name: &HostName) -> Option<(SocketAddr, Vec<u8>)> {
        let victim = self.victim.as_mut()?;
        let message = match victim.slot {
            None => join(name),
            Some(slot) => need(victim, slot, NONCE),
        };
        let mut datagram = Vec::new();
        victim.member.as_mut()?.close(&message, &mut datagram);
        Some((victim.announce.feedback, datagram))
    }

    fn false_symbol(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let victim = self.victim.as_mut()?;
        let geometry = &victim.announce.geometry;
        let block = BlockIndex(self.rng.random_range(0..geometry.block_count()));
        let k = geometry.source_symbols_of(block);
        let transmission = self.rng.random_range(0..u32::from(k));
        let header = SymbolHeader {
            session: victim.id,
            seq: self.seq,
            key_epoch: 0,
            flags: 0,
            block,
            transmission,
            announced: u32::from(k),
        };
        let symbol = usize::from(geometry.symbol_bytes());
        let mut datagram = vec![0; SymbolHeader::WIRE_BYTES + symbol + TAG_BYTES];
        self.rng.fill_bytes(&mut datagram);
        header.emit(Kind::Source, datagram.first_chunk_mut()?);
        victim.seal.as_mut()?.close_symbol(Stream::Data, self.seq, &mut datagram).ok()?;
        Some((victim.group, datagram))
    }
}

/// The process that the liar says it is.
const NONCE: BootNonce = BootNonce(0x6d61_6c6c_6f72_7921);

fn join(name: &HostName) -> Message {
    Message::Join(Join {
        host: name.clone(),
        version_min: VERSION,
        version_max: VERSION,
        machine: 1,
        nonce: NONCE,
        link: None,
        free_bytes: u64::MAX,
        clock_us: 0,
        kinds: KindSet(u16::MAX),
        holds_release: false,
        holds_image: false,
        holds_partial: false,
        echo_us: 0,
        held: Duration::ZERO,
    })
}

/// Asks for a hundred blocks from the beginning, far beyond what was sent.
fn need(victim: &Victim, slot: Slot, nonce: BootNonce) -> Message {
    let blocks = victim.announce.geometry.block_count().min(100);
    let wants = (0..blocks).map(|block| (BlockIndex(block), 1 << 20)).collect();
    let held = Duration::ZERO;
    Message::Need(Need { slot, nonce, poll: 0, echo_us: 0, held, wants })
}

fn listen(group: SocketAddr, interface: Ipv4Addr) -> UdpSocket {
    let IpAddr::V4(address) = group.ip() else { panic!("attacks are over IPv4") };
    let socket = UdpSocket::bind(group).and_then(|socket| {
        socket.join_multicast_v4(&address, &interface)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    socket.unwrap_or_else(|error| panic!("cannot hear {group}: {error}"))
}
