"use strict";
// A ZIP archive of stored files (PKWARE APPNOTE 6.3), for pictures that are compressed already.

const crc32 = (() => {
  const table = Uint32Array.from({ length: 256 }, (_, n) => {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    return c;
  });
  return (bytes) => {
    let c = 0xffffffff;
    for (const byte of bytes) c = table[(c ^ byte) & 255] ^ (c >>> 8);
    return (c ^ 0xffffffff) >>> 0;
  };
})();

// [{name, blob}] -> Promise of a Blob; names differ. Below 4 GB.
async function zipped(files) {
  const parts = [];
  const entries = [];
  let at = 0;
  const fields = (bytes, ...pairs) => {
    const view = new DataView(new ArrayBuffer(bytes));
    for (const [place, size, value] of pairs) {
      if (size === 2) view.setUint16(place, value, true);
      else view.setUint32(place, value, true);
    }
    return new Uint8Array(view.buffer);
  };
  for (const { name, blob } of files) {
    const title = new TextEncoder().encode(name);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const crc = crc32(bytes);
    // Version 2.0, names in UTF-8, stored, 1 January 1980.
    const common = (start) => [
      [start, 2, 20], [start + 2, 2, 0x800], [start + 8, 2, 33],
      [start + 10, 4, crc], [start + 14, 4, bytes.length], [start + 18, 4, bytes.length],
      [start + 22, 2, title.length],
    ];
    parts.push(fields(30, [0, 4, 0x04034b50], ...common(4)), title, blob);
    entries.push(fields(46, [0, 4, 0x02014b50], [4, 2, 20], ...common(6), [42, 4, at]), title);
    at += 30 + title.length + bytes.length;
  }
  const length = entries.reduce((sum, entry) => sum + entry.length, 0);
  const end = fields(22, [0, 4, 0x06054b50], [8, 2, files.length], [10, 2, files.length], [12, 4, length], [16, 4, at]);
  return new Blob([...parts, ...entries, end], { type: "application/zip" });
}
