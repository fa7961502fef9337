// numpy.random.RandomState(seed).randn, to the last bit but for Math.log and Math.sqrt: a seed here is a seed there.
"use strict";

class RandomState {
  constructor(seed) {  // MT19937, Knuth's initialisation, as numpy's RandomState takes an integer
    this.key = new Uint32Array(624);
    this.key[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) {
      const before = this.key[i - 1] ^ (this.key[i - 1] >>> 30);
      this.key[i] = Math.imul(1812433253, before) + i;
    }
    this.position = 624;
    this.kept = null;  // the second number of a pair
  }

  uint32() {
    const key = this.key;
    if (this.position === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (key[i] & 0x80000000) | (key[(i + 1) % 624] & 0x7fffffff);
        key[i] = key[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.position = 0;
    }
    let y = key[this.position++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  uniform() {  // [0, 1) with 53 bits
    const a = this.uint32() >>> 5, b = this.uint32() >>> 6;
    return (a * 67108864 + b) / 9007199254740992;
  }

  normal() {  // polar method of Box and Muller; the second of each pair is drawn first
    if (this.kept !== null) {
      const value = this.kept;
      this.kept = null;
      return value;
    }
    let x, y, r;
    do {
      x = 2 * this.uniform() - 1;
      y = 2 * this.uniform() - 1;
      r = x * x + y * y;
    } while (r >= 1 || r === 0);
    const f = Math.sqrt(-2 * Math.log(r) / r);
    this.kept = f * x;
    return f * y;
  }

  randn(count) {  // Float32Array [count]
    return Float32Array.from({ length: count }, () => this.normal());
  }
}

if (typeof module !== "undefined") module.exports = { RandomState };
