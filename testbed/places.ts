/** Where the testbed keeps things. What is machine-wide is in /run, what people read is in build/. */
import { fileURLToPath } from 'node:url';

/** The root of the checkout. */
export const PROJECT = fileURLToPath(new URL('..', import.meta.url));

/** Logs and rendered configuration. */
export const FILES = `${PROJECT}build/testbed`;

/** Lock, state and process records: in /run since namespaces are machine-wide and die with a reboot. */
export const STATE = '/run/skein-testbed';

export const BIRD_SOCKET = `${STATE}/bird.ctl`;

/** State of each `skein backend`, in a folder of its own below this one. */
export const BACKEND_STATES = `${STATE}/backends`;

/** Each node pins its maps in a folder of its own below this one, each `skein backend` its program. */
export const BPFFS = '/sys/fs/bpf/skein-testbed';

export const GOBGPD = `${PROJECT}build/gobgp/usr/bin/gobgpd`;

/** Built with the other BPF objects. */
export const PASS_PROGRAM = `${PROJECT}build/pass.bpf.o`;

/** That of `skein backend`. */
export const DECAP_PROGRAM = `${PROJECT}build/backend.bpf.o`;
