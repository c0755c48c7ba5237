// What a power cut leaves of files: everything that was synced before, and of what was written later any part, torn at sectors.
//
// `strace` tells every write and every sync of the process, with their times and contents.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';

const SECTOR = 512;

export const STRACE = (output) => ['strace', '-f', '-ttt', '-T', '-y', '-xx', '-s', '1000000', '-e', 'trace=pwrite64,fdatasync,fsync,ftruncate', '-o', output];

// The operations of a trace, in their order: { at, end, file, write: {offset, bytes} | sync | truncate }, times in ms.
export async function operations(trace, directory) {
  const operations = [];
  const open = new Map();
  // A trace of half a minute is longer than a string may be.
  for await (const line of readline.createInterface({ input: fs.createReadStream(trace) })) {
    // PID TIME CALL(...) = RESULT <SECONDS>, or in two halves when another thread came between.
    const [, pid, time, rest] = /^(\d+)\s+(\d+\.\d+)\s+(.*)$/.exec(line) ?? [];
    if (!rest) continue;
    let text = rest;
    let at = Number(time) * 1_000;
    if (text.includes('<unfinished ...>')) { open.set(pid, { at, text: text.replace(/\s*<unfinished \.\.\.>.*/, '') }); continue; }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text);
    if (resumed) {
      const half = open.get(pid);
      if (!half) continue;
      open.delete(pid);
      [at, text] = [half.at, half.text + resumed[1]];
    }
    const call = /^(\w+)\(\d+<([^>]*)>(.*)\)\s+= (-?\d+).*<([\d.]+)>$/.exec(text);
    if (!call || Number(call[4]) < 0) continue;
    const [, name, where, args, result, seconds] = call;
    const file = unhexed(where).toString();
    if (!file.startsWith(`${directory}/`)) continue;
    const operation = { at, end: at + Number(seconds) * 1_000, file: path.basename(file) };
    if (name === 'pwrite64') {
      const [, hex, offset] = /^, "((?:\\x[0-9a-f]{2})*)", \d+, (\d+)$/.exec(args) ?? [];
      if (hex === undefined) throw new Error(`unreadable write: ${text.slice(0, 80)}`);
      const bytes = unhexed(hex);
      if (bytes.length !== Number(result)) throw new Error(`a write of ${result} bytes shows ${bytes.length}`);
      operation.write = { offset: Number(offset), bytes };
    } else if (name === 'ftruncate') operation.truncate = Number(args.replace(/\D/g, ''));
    else operation.sync = true;
    operations.push(operation);
  }
  return operations.sort((a, b) => a.at - b.at);
}

const unhexed = (text) => Buffer.from(text.replaceAll('\\x', ''), 'hex');

// The files as they may be after the power went at `at`. `random` gives numbers from 0 to 1.
export function afterPowerCut(operations, at, random) {
  const files = new Map();
  for (const file of new Set(operations.map((one) => one.file))) {
    const own = operations.filter((one) => one.file === file && one.at <= at);
    const synced = own.findLastIndex((one) => one.sync && one.end <= at);
    // A sync covers what was written before it began.
    const safe = synced < 0 ? -1 : synced;
    const room = own.reduce((most, { write, truncate = 0 }) => Math.max(most, truncate, write ? write.offset + write.bytes.length : 0), 0);
    const image = { bytes: Buffer.alloc(room), size: 0 };
    own.forEach((one, index) => {
      if (index <= safe) apply(image, one);
      else if (random() < 0.5) apply(image, torn(one, random));
    });
    files.set(file, image.bytes.subarray(0, image.size));
  }
  return files;
}

function apply(image, { write, truncate }) {
  if (truncate !== undefined) {
    image.bytes.fill(0, truncate);
    image.size = truncate;
  } else if (write) {
    write.bytes.copy(image.bytes, write.offset);
    image.size = Math.max(image.size, write.offset + write.bytes.length);
  }
}

// Of a write that was under way, some sectors.
function torn(operation, random) {
  if (!operation.write || random() < 0.5) return operation;
  const { offset, bytes } = operation.write;
  const sectors = Math.ceil(bytes.length / SECTOR);
  const kept = Math.floor(random() * sectors) * SECTOR;
  return { ...operation, write: { offset, bytes: bytes.subarray(0, kept) } };
}
