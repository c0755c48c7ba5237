import crypto from 'node:crypto';

// Just enough of RFC 8489 and RFC 8445 to write checks and to answer them.
export const REQUEST = 0x0001;
export const SUCCESS = 0x0101;
const COOKIE = 0x2112a442;
const [USERNAME, INTEGRITY, XOR_MAPPED, PRIORITY, USE_CANDIDATE, FINGERPRINT, CONTROLLING] = [0x0006, 0x0008, 0x0020, 0x0024, 0x0025, 0x8028, 0x802a];

// A check as the controlling side sends it, signed with `password`.
export function check({ username, password, type = REQUEST }) {
  const attributes = [[USERNAME, Buffer.from(username)], [CONTROLLING, crypto.randomBytes(8)], [PRIORITY, crypto.randomBytes(4)], [USE_CANDIDATE, Buffer.alloc(0)]];
  return message({ type, transaction: crypto.randomBytes(12), attributes, password });
}

// The answer to a request that came from an IPv4 address.
export function success(request, { address, port, password }) {
  const mapped = Buffer.alloc(8);
  mapped[1] = 1;
  mapped.writeUInt16BE(port ^ (COOKIE >>> 16), 2);
  mapped.writeUInt32BE((address.split('.').reduce((n, part) => n * 256 + Number(part), 0) ^ COOKIE) >>> 0, 4);
  return message({ type: SUCCESS, transaction: request.subarray(8, 20), attributes: [[XOR_MAPPED, mapped]], password });
}

export const typeOf = (datagram) => (datagram.length >= 20 && datagram[0] < 4 && datagram.readUInt32BE(4) === COOKIE ? datagram.readUInt16BE(0) : null);

function message({ type, transaction, attributes, password }) {
  const head = (length) => {
    const h = Buffer.alloc(8);
    h.writeUInt16BE(type, 0);
    h.writeUInt16BE(length, 2);
    h.writeUInt32BE(COOKIE, 4);
    return Buffer.concat([h, transaction]);
  };
  let body = Buffer.concat(attributes.map(([kind, value]) => attribute(kind, value)));
  // Both are computed with a length that includes themselves (RFC 8489 §14.5, §14.7).
  const mac = crypto.createHmac('sha1', password).update(Buffer.concat([head(body.length + 24), body])).digest();
  body = Buffer.concat([body, attribute(INTEGRITY, mac)]);
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE((crc32(Buffer.concat([head(body.length + 8), body])) ^ 0x5354554e) >>> 0);
  body = Buffer.concat([body, attribute(FINGERPRINT, crc)]);
  return Buffer.concat([head(body.length), body]);
}

function attribute(kind, value) {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(kind, 0);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
