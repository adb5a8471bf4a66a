// What is known of a request from the engine's events: facts are added up, rates made of them.

export const MAX_DEPTH = 8;
export const PLAIN = 0, BONUS = MAX_DEPTH + 1, RESIDUAL = MAX_DEPTH + 2;

export class RequestFacts {
  constructor(name) {
    this.name = name;
    this.depth = null;
    this.isRunning = true;
    this.promptTokens = 0;
    this.read = 0;
    this.cycles = 0;
    this.emitted = 0;
    this.seconds = 0;
    this.rejected = 0;
    this.lastDepth = 0;
    this.kinds = new Array(MAX_DEPTH + 3).fill(0);
    this.reachedAt = new Array(MAX_DEPTH).fill(0);
    this.acceptedAt = new Array(MAX_DEPTH).fill(0);
  }

  take(cycle) {
    this.cycles += 1;
    this.emitted += cycle.emitted.length;
    this.seconds += cycle.total_s;
    this.rejected += cycle.accepted < cycle.depth ? 1 : 0;
    this.lastDepth = cycle.depth;
    const reached = Math.min(cycle.accepted + 1, cycle.depth);
    for (let at = 0; at < MAX_DEPTH; at += 1) {
      this.reachedAt[at] += at < reached ? 1 : 0;
      this.acceptedAt[at] += at < cycle.accepted ? 1 : 0;
    }
    cycle.emitted.forEach((_, index) => { this.kinds[kindOf(cycle, index)] += 1; });
  }

  get depthNow() { return this.depth ?? this.lastDepth; }
  // The depths worth an entry: those drafted to now, or with an accepted token; worth a bar: or judged.
  get depthsAccepted() { return Math.max(this.depthNow, ...this.kinds.slice(1, BONUS).map((count, at) => (count ? at + 1 : 0))); }
  get depthsJudged() { return Math.max(this.depthNow, this.reachedAt.filter((count) => count > 0).length); }
  get tokensPerS() { return this.seconds > 0 ? this.emitted / this.seconds : null; }
  get tokensPerCycle() { return this.cycles ? this.emitted / this.cycles : null; }
  get depthWords() { return this.depth !== null ? String(this.depth) : this.cycles ? `auto (${this.lastDepth})` : "auto"; }
}

// 1 to 8 is the depth at which a token was accepted, whatever ended the run after it.
export function kindOf(cycle, index) {
  if (index < cycle.accepted) return index + 1;
  if (cycle.depth === 0) return PLAIN;
  return cycle.accepted === cycle.depth ? BONUS : RESIDUAL;
}

// The 95 % interval of an acceptance: Wilson 1927.
export function wilson(accepted, reached, z = 1.96) {
  if (!reached) return [0, 1];
  const share = accepted / reached, spread = z * z / reached;
  const middle = (share + spread / 2) / (1 + spread);
  const half = z / (1 + spread) * Math.sqrt(share * (1 - share) / reached + spread / (4 * reached));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
