/**
 * Weighted Maglev tables (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
 * Balancer", NSDI 2016, section 3.4). Pure: the same backends give the same table on every node, in
 * whatever order they come, since everything derives from their addresses and weights.
 */
import { createHash } from 'node:crypto';
import type { Address } from '../model/address.ts';

export interface RingMember {
  readonly address: Address;
  /** 1 to 65535. */
  readonly weight: number;
}

/** Primes, so that every skip visits every slot. */
const RING_SIZES = [1021, 4093, 16381, 65521] as const;
const SLOTS_PER_BACKEND = 100;

/**
 * Slots of a service's ring: a hundred for each configured backend, so that shares are within about
 * a percent. It depends on the configuration only and not on health, or every flow would move.
 */
export function ringSize(configuredBackends: number): number {
  const wanted = configuredBackends * SLOTS_PER_BACKEND;
  return RING_SIZES.find((size) => size >= wanted) ?? 65521;
}

interface Candidate {
  /** Position in the caller's list. */
  readonly member: number;
  /** Added in each round; a slot is claimed whenever `credit` reaches 1. */
  readonly share: number;
  readonly skip: number;
  position: number;
  credit: number;
}

/** For each slot the position in `members` of its owner; empty when there are no members. */
export function maglevRing(members: readonly RingMember[], slots: number): Uint32Array {
  if (members.length === 0) return new Uint32Array(0);
  const heaviest = Math.max(...members.map(({ weight }) => weight));
  const candidates = members
    .map((member, index) => candidate(member, index, slots, heaviest))
    .sort((a, b) => compareText(members[a.member]?.address, members[b.member]?.address));

  const owners = new Int32Array(slots).fill(-1);
  let free = slots;
  while (free > 0) {
    for (const each of candidates) {
      each.credit += each.share;
      if (each.credit < 1) continue;
      each.credit -= 1;
      claimNextFree(owners, each, slots);
      free -= 1;
      if (free === 0) break;
    }
  }
  return Uint32Array.from(owners);
}

function candidate(member: RingMember, index: number, slots: number, heaviest: number): Candidate {
  const digest = createHash('sha256').update(member.address).digest();
  return {
    member: index,
    share: member.weight / heaviest,
    skip: 1 + (digest.readUInt32BE(4) % (slots - 1)),
    position: digest.readUInt32BE(0) % slots,
    credit: 0,
  };
}

function claimNextFree(owners: Int32Array, claimant: Candidate, slots: number): void {
  while (owners[claimant.position] !== -1) {
    claimant.position = (claimant.position + claimant.skip) % slots;
  }
  owners[claimant.position] = claimant.member;
}

function compareText(a = '', b = ''): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
