import { describe, expect, test } from 'vitest';
import {
  parseAddressPort,
  parseCommunity,
  parseDialTarget,
  parseHostPort,
  parseLargeCommunity,
  parseRouterId,
  parseStatusRange,
  parseThreshold,
} from './values.ts';

describe('parseHostPort', () => {
  test.each([
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    ['localhost:1', { host: 'localhost', port: 1 }],
    ['[::1]:65535', { host: '::1', port: 65535 }],
    ['[FD83:0::1]:80', { host: 'fd83::1', port: 80 }],
    ['127.0.0.1', undefined],
    ['127.0.0.1:0', undefined],
    ['127.0.0.1:65536', undefined],
    ['::1:80', undefined],
    ['[127.0.0.1]:80', undefined],
    ['[::1%eth0]:80', undefined],
    [':80', undefined],
    ['a b:80', undefined],
    ['host-:80', undefined],
    ['host:80\n', undefined],
  ])('%j', (text, expected) => {
    expect(parseHostPort(text)).toEqual(expected);
  });
});

describe('parseAddressPort', () => {
  test.each([
    ['10.83.1.11:7483', { address: '10.83.1.11', port: 7483 }],
    ['[FF02:0::5CE1]:1', { address: 'ff02::5ce1', port: 1 }],
    ['localhost:7483', undefined],
    ['010.83.1.11:7483', undefined],
    ['10.83.1.11', undefined],
    ['10.83.1.11:0', undefined],
    ['ff02::5ce1:7483', undefined],
  ])('%j', (text, expected) => {
    expect(parseAddressPort(text)).toEqual(expected);
  });
});

describe('parseDialTarget', () => {
  test.each([
    ['127.0.0.1:50051', '127.0.0.1:50051'],
    ['unix:/run/gobgp.sock', 'unix:/run/gobgp.sock'],
    ['unix:run/gobgp.sock', undefined],
    ['unix:/run/a b', undefined],
    ['dns:///example.com:1', undefined],
  ])('%j', (text, expected) => {
    expect(parseDialTarget(text)).toBe(expected);
  });
});

describe('parseRouterId', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['224.0.0.1', '224.0.0.1'],
    ['0.0.0.0', undefined],
    ['fd83::1', undefined],
    ['10.0.1', undefined],
  ])('%j', (text, expected) => {
    expect(parseRouterId(text)).toBe(expected);
  });
});

describe('parseCommunity', () => {
  test.each([
    ['65010:100', '65010:100'],
    ['0:0', '0:0'],
    ['065535:065535', '65535:65535'],
    ['65536:1', undefined],
    ['1:2:3', undefined],
    ['1', undefined],
    ['1:', undefined],
    ['-1:2', undefined],
    ['no-export', undefined],
  ])('%j', (text, expected) => {
    expect(parseCommunity(text)).toBe(expected);
  });
});

describe('parseLargeCommunity', () => {
  test.each([
    ['65010:1:100', '65010:1:100'],
    ['4294967295:4294967295:4294967295', '4294967295:4294967295:4294967295'],
    ['4294967296:1:1', undefined],
    ['1:2', undefined],
    ['1:2:3:4', undefined],
  ])('%j', (text, expected) => {
    expect(parseLargeCommunity(text)).toBe(expected);
  });
});

describe('parseStatusRange', () => {
  test.each([
    ['200-299', { from: 200, to: 299 }],
    ['204-204', { from: 204, to: 204 }],
    ['299-200', undefined],
    ['200', undefined],
    ['099-200', undefined],
    ['200-600', undefined],
    ['200 - 299', undefined],
  ])('%j', (text, expected) => {
    expect(parseStatusRange(text)).toEqual(expected);
  });
});

describe('parseThreshold', () => {
  test.each([
    ['3/5', { count: 3, window: 5 }],
    // Bounds belong to the schema.
    ['9/5', { count: 9, window: 5 }],
    ['3', undefined],
    ['3/', undefined],
    ['3 of 5', undefined],
    ['1000/1000', undefined],
  ])('%j', (text, expected) => {
    expect(parseThreshold(text)).toEqual(expected);
  });
});
