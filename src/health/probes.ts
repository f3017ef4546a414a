/** The probe of every type of check. */
import { DnsProbe } from './dns.ts';
import { GrpcProbe } from './grpc.ts';
import { HttpProbe } from './http.ts';
import { PingProbe } from './ping.ts';
import type { Probes } from './probe.ts';
import { ScriptProbe } from './script.ts';
import { TcpProbe } from './tcp.ts';
import { UdpProbe } from './udp.ts';

export function createProbes(): Probes {
  const http = new HttpProbe();
  return {
    tcp: new TcpProbe(),
    http,
    https: http,
    dns: new DnsProbe(),
    udp: new UdpProbe(),
    grpc: new GrpcProbe(),
    ping: new PingProbe(),
    script: new ScriptProbe(),
  };
}
