//! Sockets and interfaces: batches, socket options, memberships, what the kernel knows of links.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::checked;

/// Buffers that one `recvmmsg` fills.
pub const SLOTS: usize = 16;
/// Room for control messages of one buffer: `UDP_GRO` takes 24 bytes, the rest is for the kernel
/// to add to without truncating what we need.
const CONTROL_WORDS: usize = 16;

/// One address of one interface, or the interface itself where `address` is empty.
#[derive(Debug, Clone)]
pub struct InterfaceAddress {
    /// Name or, for IPv4, label (`eth0:1`).
    pub label: String,
    /// `IFF_*`.
    pub flags: u32,
    /// Only in the link-layer entry, which every interface has exactly once.
    pub index: Option<u32>,
    /// IPv4 or IPv6 address.
    pub address: Option<IpAddr>,
}

/// What one buffer of [`receive`] holds.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// Sender; empty when it is neither IPv4 nor IPv6.
    pub from: Option<SocketAddr>,
    /// Bytes in the buffer.
    pub bytes: usize,
    /// Length of each datagram in the buffer but the last; zero when it holds one.
    pub segment_bytes: usize,
    /// Whether the buffer or its control messages did not fit, so that the content is unusable.
    pub is_cut: bool,
}

impl Received {
    /// An entry that no receive has filled.
    pub const EMPTY: Self = Self { from: None, bytes: 0, segment_bytes: 0, is_cut: false };
}

/// Every address of every interface of this thread's network namespace.
///
/// # Errors
/// The kernel's.
pub fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut first: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `first` is a valid place for the list's head.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: getifaddrs returned a list of valid entries that lives until freeifaddrs.
        let entry = unsafe { &*next };
        // SAFETY: as above; the name is a terminated string.
        let label = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        // SAFETY: as above; the address is empty or as long as its family says.
        let (index, address) = unsafe { link_index_and_ip(entry.ifa_addr) };
        addresses.push(InterfaceAddress { label, flags: entry.ifa_flags, index, address });
        next = entry.ifa_next;
    }
    // SAFETY: `first` came from getifaddrs and no reference into the list is left.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// # Safety
/// `address` is null or points to a socket address as long as its family says.
unsafe fn link_index_and_ip(address: *const libc::sockaddr) -> (Option<u32>, Option<IpAddr>) {
    if address.is_null() {
        return (None, None);
    }
    // SAFETY: not null, and every socket address begins with its family.
    if i32::from(unsafe { (*address).sa_family }) == libc::AF_PACKET {
        // SAFETY: the family says that it is a sockaddr_ll.
        let link = unsafe { address.cast::<libc::sockaddr_ll>().read_unaligned() };
        return (u32::try_from(link.sll_ifindex).ok(), None);
    }
    // SAFETY: the caller's promise.
    (None, unsafe { socket_address(address) }.map(|address| address.ip()))
}

/// # Safety
/// `address` points to a socket address as long as its family says.
unsafe fn socket_address(address: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: every socket address begins with its family.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = v4.sin_addr.s_addr.to_ne_bytes().into();
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            let (ip, port) = (v6.sin6_addr.s6_addr.into(), u16::from_be(v6.sin6_port));
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// An `ifreq` for the interface called `name`; empty when no interface can have that name.
fn interface_request(name: &str) -> Option<libc::ifreq> {
    // SAFETY: an ifreq is plain old data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    Some(request)
}

/// Largest packet that the interface takes, in bytes.
///
/// # Errors
/// The kernel's; that there is no interface of this name.
pub fn interface_mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let mut request = interface_request(name).ok_or(io::ErrorKind::NotFound)?;
    // SAFETY: SIOCGIFMTU reads the name and writes the mtu of the ifreq, which lives on the stack.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &mut request) })?;
    // SAFETY: SIOCGIFMTU succeeded, so the mtu is the field that was written.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// `struct ethtool_cmd` of linux/ethtool.h, as far as we name it.
#[repr(C)]
#[derive(Default)]
struct EthtoolSettings {
    command: u32,
    modes: [u32; 2],
    speed_low: u16,
    media: [u8; 6],
    interrupts: [u32; 2],
    speed_high: u16,
    mdi: [u8; 2],
    partner_and_reserved: [u32; 3],
}

const _: () = assert!(size_of::<EthtoolSettings>() == 44, "the kernel reads and writes 44 bytes");

/// Negotiated speed in Mbit/s; empty for links that do not know theirs (lo, virtio, radio).
///
/// Asked by ioctl and not read from `/sys/class/net`, which shows the namespace that mounted it.
pub fn interface_speed_megabits(socket: BorrowedFd<'_>, name: &str) -> Option<u32> {
    const ETHTOOL_GSET: u32 = 1;
    let mut settings = EthtoolSettings { command: ETHTOOL_GSET, ..EthtoolSettings::default() };
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut settings).cast();
    // SAFETY: ETHTOOL_GSET reads and writes the 44 bytes at ifru_data; both live on the stack.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) } != 0 {
        return None;
    }
    let speed = u32::from(settings.speed_high) << 16 | u32::from(settings.speed_low);
    // Unknown is -1; some drivers say 0 or, in the old field alone, 65535 while the link is down.
    (speed != 0 && speed != u32::MAX && speed != u32::from(u16::MAX)).then_some(speed)
}

/// Sets a socket option whose value is a number.
///
/// # Errors
/// The kernel's.
pub fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_struct(socket, level, option, &value)
}

/// Sends what goes to IPv4 groups over the interface of this number, from `address`.
///
/// # Errors
/// The kernel's.
pub fn set_multicast_interface_v4(
    socket: BorrowedFd<'_>,
    interface_index: u32,
    address: Ipv4Addr,
) -> io::Result<()> {
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        imr_ifindex: interface_index.cast_signed(),
    };
    set_struct(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
}

/// Sets a socket option whose value is a C struct without pointers.
fn set_struct<T: Copy>(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: &T,
) -> io::Result<()> {
    let bytes = size_of::<T>() as libc::socklen_t;
    let value = ptr::from_ref(value).cast();
    // SAFETY: the kernel reads `bytes` bytes at `value`, which is borrowed for the call.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, bytes) })?;
    Ok(())
}

/// Datagrams that the kernel threw away for this socket since it was opened, modulo 2³².
///
/// # Errors
/// The kernel's.
pub fn socket_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = [0_u32; 9];
    let mut bytes = size_of_val(&info) as libc::socklen_t;
    let place = info.as_mut_ptr().cast();
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel writes at most `bytes` bytes at `place`, an array of that size.
    checked(unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, place, &mut bytes)
    })?;
    Ok(info[libc::SK_MEMINFO_DROPS as usize])
}

/// Joins or leaves a group on one interface, from one source where `source` says so.
///
/// # Errors
/// The kernel's.
pub fn change_membership(
    socket: BorrowedFd<'_>,
    group: SocketAddr,
    source: Option<IpAddr>,
    interface_index: u32,
    is_joining: bool,
) -> io::Result<()> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let gr_group = storage_of(group);
    let Some(source) = source else {
        let option = if is_joining { libc::MCAST_JOIN_GROUP } else { libc::MCAST_LEAVE_GROUP };
        let request = libc::group_req { gr_interface: interface_index, gr_group };
        return set_struct(socket, level, option, &request);
    };
    let request = libc::group_source_req {
        gsr_interface: interface_index,
        gsr_group: gr_group,
        gsr_source: storage_of(SocketAddr::new(source, 0)),
    };
    let option =
        if is_joining { libc::MCAST_JOIN_SOURCE_GROUP } else { libc::MCAST_LEAVE_SOURCE_GROUP };
    set_struct(socket, level, option, &request)
}

fn storage_of(address: SocketAddr) -> libc::sockaddr_storage {
    let address = socket2::SockAddr::from(address);
    // SAFETY: plain old data, for which all zeroes is a value.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let bytes = (address.len() as usize).min(size_of_val(&storage));
    let place = ptr::from_mut(&mut storage).cast::<u8>();
    // SAFETY: both sides are valid for `bytes` bytes, and the storage is a local of its own.
    unsafe { ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), place, bytes) };
    storage
}

/// Fills up to [`SLOTS`] buffers of `slot_bytes` with what is queued, without waiting.
///
/// Returns how many entries of `received` are filled.
///
/// # Errors
/// The kernel's, `WouldBlock` when nothing is queued.
///
/// # Panics
/// When `slot_bytes` is zero.
pub fn receive(
    socket: BorrowedFd<'_>,
    storage: &mut [u8],
    slot_bytes: usize,
    received: &mut [Received; SLOTS],
) -> io::Result<usize> {
    // SAFETY: socket addresses, iovecs and message headers are plain old data; null is a pointer
    // that the kernel does not follow, and each header is filled in below before it is used.
    let (mut names, mut vectors, mut messages) = unsafe {
        (
            mem::zeroed::<[libc::sockaddr_storage; SLOTS]>(),
            mem::zeroed::<[libc::iovec; SLOTS]>(),
            mem::zeroed::<[libc::mmsghdr; SLOTS]>(),
        )
    };
    let mut controls = [[0_u64; CONTROL_WORDS]; SLOTS];
    let mut slots = 0;
    for (slot, buffer) in storage.chunks_exact_mut(slot_bytes).take(SLOTS).enumerate() {
        vectors[slot].iov_base = buffer.as_mut_ptr().cast();
        vectors[slot].iov_len = buffer.len();
        let header = &mut messages[slot].msg_hdr;
        header.msg_name = ptr::from_mut(&mut names[slot]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &mut vectors[slot];
        header.msg_iovlen = 1;
        header.msg_control = controls[slot].as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&controls[slot]) as _;
        slots += 1;
    }
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: `slots` headers are filled in; their buffers, names and control areas are distinct
    // and outlive the call.
    let count = unsafe {
        libc::recvmmsg(fd, messages.as_mut_ptr(), slots as u32, flags as _, ptr::null_mut())
    };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    for (received, message) in received.iter_mut().zip(&messages[..count]) {
        // SAFETY: the kernel filled these headers; names and control areas are still alive.
        *received = unsafe { describe(message) };
    }
    Ok(count)
}

/// # Safety
/// The kernel has filled `message`, and its name and control area are still valid.
unsafe fn describe(message: &libc::mmsghdr) -> Received {
    let header = &message.msg_hdr;
    let mut segment_bytes = 0;
    // SAFETY: the control area is as long as the kernel says, and the macros stay within it.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if ((*control).cmsg_level, (*control).cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
                segment_bytes = libc::CMSG_DATA(control).cast::<i32>().read_unaligned();
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    Received {
        // SAFETY: the name is a sockaddr_storage, long enough for every family.
        from: unsafe { socket_address(header.msg_name.cast()) },
        bytes: message.msg_len as usize,
        segment_bytes: usize::try_from(segment_bytes).unwrap_or(0),
        is_cut: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    }
}
