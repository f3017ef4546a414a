import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import type { FlowAtPeer, FlowList, ListedFlow } from '../model/flow-query.ts';
import { describeFlows, flowsPath } from './flows.ts';

const FLOW: ListedFlow = {
  client: address('198.51.100.7'),
  clientPort: 40_001,
  vip: address('192.0.2.1'),
  port: 443,
  protocol: 'tcp',
  backend: address('10.0.0.1'),
  state: 'open',
  openedAgoMs: 61_000,
  seenAgoMs: 900,
  guess: false,
  knownAt: [{ peer: 'lb2', knowledge: 'known' }],
  survives: true,
};

const LIST: FlowList = {
  flows: [FLOW],
  scanned: 1,
  matched: 1,
  survival: { survive: 1, mayNot: 0, unsettled: 0 },
  truncated: false,
  complete: true,
};

describe('the table', () => {
  test('has a line for each flow, in columns, and ends with how many survive', () => {
    const v6: ListedFlow = {
      ...FLOW,
      client: address('2001:db8:c::7'),
      vip: address('2001:db8::1'),
      guess: true,
      knownAt: [
        { peer: 'lb2', knowledge: 'known' },
        { peer: 'lb3', knowledge: 'differs' },
      ],
    };
    const survival = { survive: 1, mayNot: 1, unsettled: 0 };
    expect(describeFlows({ ...LIST, flows: [FLOW, v6], matched: 2, survival })).toEqual([
      'CLIENT                 DESTINATION            BACKEND   STATE  AGE    IDLE  GUESS  KNOWN AT',
      '198.51.100.7:40001     tcp/192.0.2.1:443      10.0.0.1  open   1 min  0 s   -      lb2',
      '[2001:db8:c::7]:40001  tcp/[2001:db8::1]:443  10.0.0.1  open   1 min  0 s   yes    lb2, lb3 differs',
      '',
      '1 of 2 flows would survive this node (1 may not)',
    ]);
  });

  test.each<[string, FlowAtPeer[], string]>([
    ['nobody', [], '-'],
    ['a name that would steer the terminal', [{ peer: 'a\u001b', knowledge: 'known' }], 'a?'],
    ['one that is not sure', [{ peer: 'lb2', knowledge: 'unsettled' }], 'lb2 unsettled'],
    [
      'many',
      Array.from({ length: 9 }, (_, i) => ({
        peer: `lb${i}`,
        knowledge: i === 0 ? ('unsettled' as const) : ('known' as const),
      })),
      '8 known, 1 unsettled',
    ],
  ])('known at %s', (_, knownAt, expected) => {
    const [head = '', row = ''] = describeFlows({ ...LIST, flows: [{ ...FLOW, knownAt }] });
    expect(row.slice(head.indexOf('KNOWN AT'))).toBe(expected);
  });
});

test.each<[string, Partial<FlowList>, string[]]>([
  [
    'nothing',
    { flows: [], matched: 0, survival: { survive: 0, mayNot: 0, unsettled: 0 } },
    ['0 of 0 flows would survive this node'],
  ],
  [
    'young flows',
    { flows: [], matched: 9, survival: { survive: 7, mayNot: 0, unsettled: 2 } },
    ['7 of 9 flows would survive this node (2 cannot be told yet)'],
  ],
  [
    'no flow sync',
    { flows: [], matched: 3, survival: null },
    ['3 flows; flow sync is not configured, so what they would survive is not known'],
  ],
  [
    'more than are listed',
    { flows: [], matched: 3, truncated: true },
    ['0 of 3 flows are listed', '1 of 3 flows would survive this node'],
  ],
  [
    'a walk that ended early',
    { flows: [], scanned: 8, truncated: true, complete: false },
    [
      'the table is large: only 8 of its flows were looked at',
      '1 of 1 flows would survive this node',
    ],
  ],
])('without a row: %s', (_, part, expected) => {
  expect(describeFlows({ ...LIST, ...part })).toEqual(expected);
});

test.each([
  [{}, 'api/v1/flows'],
  [{ client: '2001:db8::1', limit: '5' }, 'api/v1/flows?client=2001%3Adb8%3A%3A1&limit=5'],
  [{ vip: 'a&port=1' }, 'api/v1/flows?vip=a%26port%3D1'],
])('%j asks for %s', (options, expected) => {
  expect(flowsPath(options)).toBe(expected);
});
