// norm-file: brings one file to many hosts with NORM (RFC 5740), on the distribution's libnorm.
//
//   g++ -O2 bench/norm/norm-file.cc -lnorm -o target/release/norm-file     (libnorm-dev)
//
//   norm-file receive INTERFACE NODE DIRECTORY
//   norm-file send INTERFACE FILE HOSTS MEGABITS BLOCK PARITY AUTO
//
// A contestant of `compare`, no tool: it exists because Debian packages the library alone. HOSTS
// receivers, whose nodes are numbered from 1, must acknowledge the whole file; the sender then
// ends, with exit code 0. BLOCK source and PARITY repair segments make a block, of which AUTO
// repair segments are sent unasked.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <normApi.h>

static const char GROUP[] = "239.192.70.72";
static const UINT16 PORT = 6003;
// Fills an MTU of 1500 behind NORM's header and extensions.
static const UINT16 SEGMENT_BYTES = 1400;
// The kernel grants net.core.rmem_max of it.
static const unsigned SOCKET_BYTES = 100 << 20;
static const UINT32 BUFFER_BYTES = 64 << 20;
// A LAN's, as for the other contestants; NORM measures on from there.
static const double GRTT_SECONDS = 0.01;

static void fail(const char* what) {
    fprintf(stderr, "norm-file: %s\n", what);
    exit(1);
}

static NormSessionHandle session_on(NormInstanceHandle instance, const char* interface,
                                    NormNodeId node) {
    NormSessionHandle session = NormCreateSession(instance, GROUP, PORT, node);
    if (session == NORM_SESSION_INVALID) fail("no session");
    if (!NormSetMulticastInterface(session, interface)) fail("no such interface");
    return session;
}

static int receive(NormInstanceHandle instance, char** args) {
    NormSessionHandle session = session_on(instance, args[0], atoi(args[1]));
    if (!NormSetCacheDirectory(instance, args[2])) fail("no such directory");
    if (!NormStartReceiver(session, BUFFER_BYTES)) fail("cannot receive");
    NormSetRxSocketBuffer(session, SOCKET_BYTES);
    // It goes on until it is killed: a completed file is still acknowledged.
    NormEvent event;
    while (NormGetNextEvent(instance, &event)) {
        if (event.type == NORM_RX_OBJECT_ABORTED) fail("gave the file up");
    }
    return 1;
}

static int send(NormInstanceHandle instance, char** args) {
    const int hosts = atoi(args[2]);
    NormSessionHandle session = session_on(instance, args[0], hosts + 1);
    NormSetTxRate(session, atof(args[3]) * 1e6);
    NormSetGrttEstimate(session, GRTT_SECONDS);
    NormSetGroupSize(session, hosts);
    NormSetTxSocketBuffer(session, SOCKET_BYTES);
    const UINT16 block = atoi(args[4]), parity = atoi(args[5]);
    if (!NormStartSender(session, 1, BUFFER_BYTES, SEGMENT_BYTES, block, parity)) {
        fail("cannot send");
    }
    NormSetAutoParity(session, atoi(args[6]));
    for (int node = 1; node <= hosts; node++) {
        if (!NormAddAckingNode(session, node)) fail("too many hosts");
    }
    NormObjectHandle file = NormFileEnqueue(session, args[1]);
    if (file == NORM_OBJECT_INVALID) fail("cannot read the file");
    if (!NormSetWatermark(session, file)) fail("cannot ask for acknowledgements");
    NormEvent event;
    while (NormGetNextEvent(instance, &event)) {
        if (event.type != NORM_TX_WATERMARK_COMPLETED) continue;
        if (NormGetAckingStatus(session) == NORM_ACK_SUCCESS) return 0;
        // Some were too busy to answer in time, or still repair: they are asked again.
        if (!NormResetWatermark(session)) fail("not all hosts acknowledged the file");
    }
    return 1;
}

int main(int count, char** args) {
    NormInstanceHandle instance = NormCreateInstance();
    if (instance == NORM_INSTANCE_INVALID) fail("no instance");
    if (count == 5 && !strcmp(args[1], "receive")) return receive(instance, args + 2);
    if (count == 9 && !strcmp(args[1], "send")) return send(instance, args + 2);
    fprintf(stderr, "usage: norm-file receive INTERFACE NODE DIRECTORY\n"
                    "       norm-file send INTERFACE FILE HOSTS MEGABITS BLOCK PARITY AUTO\n");
    return 2;
}
