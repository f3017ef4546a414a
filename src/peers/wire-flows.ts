/**
 * Flows to bytes and back: dictionaries of a datagram, rows of a fixed stride. Reads and writes
 * columns, a million rows a second and more, so there must never be an object for a row.
 */
import type { Family } from '../model/address.ts';
import { FlowChange, SharedFlowState, type FlowBatch } from '../model/flow-batch.ts';
import { addressLength, allocateColumns, entryOf, firstRows, type FlowColumns } from './batch.ts';
import {
  NO_ENTRY,
  readBackends,
  readDestinations,
  UNKNOWN_ENTRY,
  WIRE_DICTIONARY_MAX,
  writeBackends,
  writeDestinations,
} from './wire-dictionary.ts';
import { hasFields, isCount, type Fields } from './wire-fields.ts';
import type { Plain } from './wire-msgpack.ts';

/*
 * A row: client address, then
 *   +0 client port u16   +2 destination u8   +3 backend u8   +4 flags u8
 *   +5 opened age u32, ms   +9 idle age u16, in steps of 100 ms
 */
const ROW_TAIL_BYTES = 11;
/** Longer rows than this are not of a later version, but a mistake. */
const STRIDE_MAX = 1_024;

const CHANGE_MASK = 0b11;
const STATE_SHIFT = 2;
const STATE_MASK = 0b111;
const GUESS_SHIFT = 5;

const IDLE_STEP_MS = 100;
const IDLE_STEPS_MAX = 0xffff;

const FAMILY_CODES = { ipv4: 4, ipv6: 6 } as const;

const KNOWN_CHANGE = tableOf(Object.values(FlowChange), CHANGE_MASK + 1);
const KNOWN_STATE = tableOf(Object.values(SharedFlowState), STATE_MASK + 1);

export function strideOf(family: Family): number {
  return addressLength(family) + ROW_TAIL_BYTES;
}

/** Some rows of a batch, and which entries of its dictionaries go with them. */
export interface Selection {
  readonly from: number;
  /** The row after the last. */
  readonly to: number;
  /** Indexes into the batch's dictionaries, in the order in which they are sent. */
  readonly destinations: readonly number[];
  readonly backends: readonly number[];
  /** By index into the batch's dictionaries: the place among those that are sent. */
  readonly destinationPlaces: Uint8Array;
  readonly backendPlaces: Uint8Array;
}

/** All of a batch; throws a RangeError when its dictionaries are too long for a datagram. */
export function wholeSelection({ count, destinations, backends }: FlowBatch): Selection {
  if (Math.max(destinations.length, backends.length) > WIRE_DICTIONARY_MAX) {
    throw new RangeError(`more than ${WIRE_DICTIONARY_MAX} destinations or backends: split it`);
  }
  return {
    from: 0,
    to: count,
    destinations: [...destinations.keys()],
    backends: [...backends.keys()],
    destinationPlaces: Uint8Array.from(destinations.keys()),
    backendPlaces: Uint8Array.from(backends.keys()),
  };
}

/** The fields of a flows message after its kind. */
export function flowsFields(batch: FlowBatch, selection: Selection): readonly Plain[] {
  return [
    FAMILY_CODES[batch.family],
    writeDestinations(selection.destinations.map((index) => entryOf(batch.destinations, index))),
    writeBackends(selection.backends.map((index) => entryOf(batch.backends, index))),
    strideOf(batch.family),
    writeRows(batch, selection),
  ];
}

function writeRows(batch: FlowBatch, selection: Selection): Uint8Array {
  const { from, to, destinationPlaces, backendPlaces } = selection;
  const width = addressLength(batch.family);
  const rows = Buffer.allocUnsafe((to - from) * strideOf(batch.family));
  let at = 0;
  for (let row = from; row < to; row += 1) {
    for (let i = row * width; i < (row + 1) * width; i += 1) {
      rows[at++] = batch.clientAddress[i] ?? 0;
    }
    const port = batch.clientPort[row] ?? 0;
    const openedAgoMs = batch.openedAgoMs[row] ?? 0;
    const idleSteps = idleStepsOf(batch.seenAgoMs[row] ?? 0);
    rows[at] = port >>> 8;
    rows[at + 1] = port;
    rows[at + 2] = destinationPlaces[batch.destination[row] ?? 0] ?? 0;
    rows[at + 3] = backendPlaces[batch.backend[row] ?? 0] ?? 0;
    rows[at + 4] = flagsOf(batch, row);
    rows[at + 5] = openedAgoMs >>> 24;
    rows[at + 6] = openedAgoMs >>> 16;
    rows[at + 7] = openedAgoMs >>> 8;
    rows[at + 8] = openedAgoMs;
    rows[at + 9] = idleSteps >>> 8;
    rows[at + 10] = idleSteps;
    at += ROW_TAIL_BYTES;
  }
  return rows;
}

function flagsOf(batch: FlowBatch, row: number): number {
  const change = batch.change[row] ?? 0;
  const state = batch.state[row] ?? 0;
  return change | (state << STATE_SHIFT) | ((batch.guess[row] ?? 0) << GUESS_SHIFT);
}

/** Rounded up, so that a flow that is told to and fro never looks younger than it is. */
function idleStepsOf(seenAgoMs: number): number {
  return Math.min(IDLE_STEPS_MAX, Math.ceil(seenAgoMs / IDLE_STEP_MS));
}

export interface DecodedFlows {
  readonly batch: FlowBatch;
  /** Rows left out: what they say has a meaning in a later version only. */
  readonly skippedRows: number;
}

/** The inverse of `flowsFields`: undefined when a field is not what it must be. */
export function readFlows(fields: Fields): DecodedFlows | undefined {
  if (!hasFields(fields, 5)) return undefined;
  const [familyCode, vips, addresses, stride, rows] = fields;
  const family = familyCode === 4 ? 'ipv4' : familyCode === 6 ? 'ipv6' : undefined;
  if (family === undefined) return undefined;
  if (!isCount(stride, strideOf(family)) || stride > STRIDE_MAX) return undefined;
  if (!(rows instanceof Uint8Array) || rows.length % stride !== 0) return undefined;
  if (!(vips instanceof Uint8Array) || !(addresses instanceof Uint8Array)) return undefined;
  const dictionary = readDestinations(vips, family);
  const backends = readBackends(addresses);
  if (dictionary === undefined || backends === undefined) return undefined;
  const columns = allocateColumns(family, rows.length / stride);
  const count = readRows(
    rows,
    stride,
    dictionary.places,
    backends.length,
    columns,
    addressLength(family),
  );
  if (count === undefined) return undefined;
  const { destinations } = dictionary;
  const batch: FlowBatch = {
    family,
    count,
    destinations,
    backends,
    ...firstRows(columns, family, count),
  };
  return { batch, skippedRows: rows.length / stride - count };
}

/** Fills the columns and returns how many rows they have; undefined when a row names no entry. */
function readRows(
  rows: Uint8Array,
  stride: number,
  places: Int16Array,
  backends: number,
  columns: FlowColumns,
  width: number,
): number | undefined {
  let row = 0;
  for (let start = 0; start < rows.length; start += stride) {
    const at = start + width;
    const destination = places[byte(rows, at + 2)] ?? NO_ENTRY;
    const backend = byte(rows, at + 3);
    if (destination === NO_ENTRY || backend >= backends) return undefined;
    const flags = byte(rows, at + 4);
    const change = flags & CHANGE_MASK;
    const state = (flags >>> STATE_SHIFT) & STATE_MASK;
    const isKnown = KNOWN_CHANGE[change] === 1 && KNOWN_STATE[state] === 1;
    if (!isKnown || destination === UNKNOWN_ENTRY) continue;
    for (let i = 0; i < width; i += 1) {
      columns.clientAddress[row * width + i] = byte(rows, start + i);
    }
    columns.clientPort[row] = u16(rows, at);
    columns.destination[row] = destination;
    columns.backend[row] = backend;
    columns.change[row] = change;
    columns.state[row] = state;
    columns.guess[row] = (flags >>> GUESS_SHIFT) & 1;
    const openedAgoMs = u16(rows, at + 5) * 0x1_0000 + u16(rows, at + 7);
    columns.openedAgoMs[row] = openedAgoMs;
    columns.seenAgoMs[row] = seenAgoMs(u16(rows, at + 9), openedAgoMs);
    row += 1;
  }
  return row;
}

/** Takes the rounding back where it says that a flow was seen before it was opened. */
function seenAgoMs(idleSteps: number, openedAgoMs: number): number {
  const ms = idleSteps * IDLE_STEP_MS;
  return ms > openedAgoMs && ms - openedAgoMs < IDLE_STEP_MS ? openedAgoMs : ms;
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

function u16(bytes: Uint8Array, at: number): number {
  return (byte(bytes, at) << 8) | byte(bytes, at + 1);
}

/** A table of ones at `members`, for a test without a search. */
function tableOf(members: readonly number[], length: number): Uint8Array {
  const table = new Uint8Array(length);
  for (const member of members) table[member] = 1;
  return table;
}
