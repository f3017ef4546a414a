/**
 * A real server at its duties: VIPs on the loopback, ARP kept quiet, tunnels taken apart, MSS clamped.
 * What it changes is written down before, and taken back by `stop` or by the next one that starts.
 * Must never leave a machine half changed without a record of it.
 */
import type { XdpModeWish } from '../dataplane/attachment.ts';
import type { InterfaceStatus } from '../dataplane/dataplane.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Address } from '../model/address.ts';
import { applyChanges, undoChanges } from './changes.ts';
import { putClamps, removeClamps, type Clamp } from './clamp.ts';
import { mssFor, type Duties } from './duties.ts';
import { NO_CHANGES, readLedger, removeLedger, writeLedger, type Ledger } from './ledger.ts';
import { takeLock, type Lock } from './lock.ts';
import { readMachine } from './machine.ts';
import { planChanges, type Change, type Found } from './plan.ts';
import { AttachedProgram, type BackendCounter } from './program.ts';

export interface BackendOptions {
  /** Where packets of the nodes arrive. */
  readonly interfaces: readonly string[];
  readonly xdpMode: XdpModeWish;
  /** `auto`: what the tunnels leave; otherwise bytes of TCP payload. */
  readonly mss: 'auto' | 'off' | number;
  /** Holds the record of changes, and the lock. One for each network namespace. */
  readonly stateDir: string;
  /** Folder on a BPF file system for the links of the program. One for each network namespace. */
  readonly bpffs: string;
  readonly logger: Logger;
}

/** What a server does, as `skein backend status` shows it. */
export interface BackendStatus {
  readonly pid: number;
  readonly vips: readonly Address[];
  /** With the program that takes tunnels apart; empty when none is needed. */
  readonly interfaces: readonly InterfaceStatus[];
  readonly clamps: readonly Clamp[];
  readonly changes: readonly Change[];
  readonly counters: readonly BackendCounter[];
}

export class BackendServer {
  readonly #options: BackendOptions;
  readonly #program: AttachedProgram;
  #lock: Lock | undefined;
  #ledger: Ledger = NO_CHANGES;
  #vips: readonly Address[] = [];
  #clamps: readonly Clamp[] = [];

  /** Takes up what a killed process left, and carries the duties out; undoes all if that fails. */
  static async start(duties: Duties, options: BackendOptions): Promise<BackendServer> {
    if (process.geteuid?.() !== 0) {
      throw new SkeinError(
        'NOT_ROOT',
        'skein backend changes addresses and XDP programs: run it as root',
      );
    }
    const server = new BackendServer(options);
    server.#lock = await takeLock(options.stateDir, () => server.status());
    try {
      server.#ledger = readLedger(options.stateDir, options.logger);
      if (server.#ledger !== NO_CHANGES) {
        options.logger.info('taking up what an earlier run left');
      }
      await server.set(duties);
      return server;
    } catch (error) {
      await server.stop().catch((other: unknown) => {
        options.logger.error({ reason: errorMessage(other) }, 'not everything was taken back');
      });
      throw error;
    }
  }

  private constructor(options: BackendOptions) {
    this.#options = options;
    this.#program = new AttachedProgram(options.bpffs, options.logger);
  }

  /** Takes the whole of what is to be done. After a failure the machine may lie in between. */
  async set(duties: Duties): Promise<void> {
    const { interfaces, stateDir, xdpMode, logger } = this.#options;
    const found = await readMachine();
    const plan = planChanges(duties.vips, interfaces, found, this.#ledger.changes);
    if (plan.refusals.length > 0) {
      throw new SkeinError('BACKEND_REFUSED', plan.refusals.join('; '));
    }
    const clamps = this.#clampsFor(duties, found);
    const clamp = this.#ledger.clamp || clamps.length > 0;
    this.#record({ changes: [...plan.undo, ...plan.changes], clamp });
    const left = await undoChanges(plan.undo, logger);
    await applyChanges(plan.apply);
    if (clamps.length > 0) await putClamps(clamps, stateDir);
    else if (clamp) await removeClamps(stateDir);
    await this.#program.set(duties, interfaces, xdpMode);
    this.#record({ changes: [...left, ...plan.changes], clamp: clamps.length > 0 });
    this.#vips = duties.vips;
    this.#clamps = clamps;
  }

  status(): BackendStatus {
    return {
      pid: process.pid,
      vips: this.#vips,
      interfaces: this.#program.interfaces,
      clamps: this.#clamps,
      changes: this.#ledger.changes,
      counters: this.#program.counters(),
    };
  }

  /** Takes everything back, the last change first, as far as that goes. May be called again. */
  async stop(): Promise<void> {
    const { stateDir, logger } = this.#options;
    const failures: string[] = [];
    const attempt = async (step: () => void | Promise<void>): Promise<void> => {
      try {
        await step();
      } catch (error) {
        failures.push(errorMessage(error));
      }
    };
    await attempt(() => {
      this.#program.remove();
    });
    let { changes, clamp } = this.#ledger;
    await attempt(async () => {
      changes = (await undoChanges(changes.toReversed(), logger)).toReversed();
    });
    await attempt(async () => {
      if (clamp) await removeClamps(stateDir);
      clamp = false;
    });
    await attempt(() => {
      this.#record({ changes, clamp });
    });
    await this.#lock?.release();
    this.#lock = undefined;
    if (changes.length > 0) failures.push(`${changes.length} changes are still in place`);
    if (failures.length > 0) throw new SkeinError('BACKEND_LEFTOVER', failures.join('; '));
  }

  #record(ledger: Ledger): void {
    this.#ledger = ledger;
    const { stateDir } = this.#options;
    if (ledger.changes.length > 0 || ledger.clamp) writeLedger(stateDir, ledger);
    else removeLedger(stateDir);
  }

  /** The smallest interface decides, since any of them may be the way. */
  #clampsFor(duties: Duties, found: Found): readonly Clamp[] {
    const { interfaces, mss } = this.#options;
    if (mss === 'off') return [];
    const mtus = found.interfaces.filter(({ name }) => interfaces.includes(name));
    const mtu = Math.min(...mtus.map((each) => each.mtu));
    return duties.vips.flatMap((vip) => {
      const room = mssFor(vip, duties, mtu);
      if (room === undefined) return [];
      return [{ vip, mss: mss === 'auto' ? room : mss }];
    });
  }
}
