/**
 * The process of detour.ts: what comes to one port of a multicast group goes on to another, each
 * datagram after a time of its own, and never leaves this host. Ends with whoever started it.
 */
import { createSocket } from 'node:dgram';
import type { DetourMessage, DetourTask } from './detour.ts';

/** Datagrams that are held at once; beyond it they go on at once. */
const HOLDING_MAX = 10_000;

const task = JSON.parse(process.argv[2] ?? '') as DetourTask;
const { group, port, viaPort, hostAddress, minMs, maxMs } = task;
const socket = createSocket({ type: 'udp4', reuseAddr: true });
let held = 0;
let holding = 0;
let isEnding = false;

function say(message: DetourMessage): void {
  process.send?.(message);
}

function endWhenEmpty(): void {
  if (!isEnding || holding > 0) return;
  say({ kind: 'held', held });
  process.disconnect();
}

socket.on('message', (datagram) => {
  held += 1;
  holding += 1;
  const delayMs = holding > HOLDING_MAX ? 0 : minMs + Math.random() * (maxMs - minMs);
  setTimeout(() => {
    socket.send(datagram, port, group, () => {
      holding -= 1;
      endWhenEmpty();
    });
  }, delayMs);
});
socket.bind({ address: group, port: viaPort }, () => {
  socket.addMembership(group, hostAddress);
  socket.setMulticastInterface(hostAddress);
  socket.setMulticastLoopback(true);
  // To the programs of this host and no further.
  socket.setMulticastTTL(0);
  say({ kind: 'ready' });
});
process.on('message', () => {
  isEnding = true;
  endWhenEmpty();
});
process.on('disconnect', () => process.exit());
