/** @file The reward of a server: loaded when it is needed, used by one request after the other, unloaded on request or when nobody asks. */

import { CancelledError } from "../errors.js";
import type { ReferenceScores } from "../evaluation/explain.js";
import { referenceOf } from "../library/reference-of.js";
import { rewardKey } from "../pipeline/infotext.js";
import type { Reward } from "../rewards/contract.js";
import { WatchedReward } from "../rewards/held-out.js";

/** An open reward with what holds it. */
export interface OpenedReward {
  readonly reward: Reward;
  /** Gives back all that it takes: ends the device process. */
  close(): Promise<void>;
}

/** What is known of a reward once it has been loaded. */
export interface RewardFacts {
  readonly name: string;
  /** The key that its score has in a picture's generation parameters: `ImageReward`. */
  readonly key: string;
  /** Nearly all scores lie in it. */
  readonly range: readonly [number, number];
  /** Rewards that are told and choose nothing. */
  readonly heldOut: readonly string[];
  /** What scores are compared with. */
  readonly reference: Pick<ReferenceScores, "pictures" | "source"> | null;
}

/** A loaded reward. */
export interface LoadedReward {
  readonly reward: Reward;
  readonly reference: ReferenceScores | undefined;
  readonly facts: RewardFacts;
}

/** A reward that comes and goes. What is asked of it is done in turn, so that it never goes while it works. */
export class Judge {
  #tail: Promise<unknown> = Promise.resolve();
  #loaded: (LoadedReward & OpenedReward) | undefined;
  #facts: RewardFacts | undefined;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param open loads it
   * @param unloadAfterMs without a request it is unloaded after this time @default never
   */
  constructor(
    private readonly open: () => Promise<OpenedReward>,
    private readonly unloadAfterMs: number | undefined,
  ) {}

  /** Whether it takes memory now. */
  get loaded(): boolean {
    return this.#loaded !== undefined;
  }

  /** What is known of it; undefined before it was first loaded. */
  get facts(): RewardFacts | undefined {
    return this.#facts;
  }

  /** Does `work` with the reward when its turn comes, loading it first if it is not there. @throws what `open` throws; the next use tries again */
  use<T>(work: (loaded: LoadedReward) => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      clearTimeout(this.#idle);
      try {
        return await work((this.#loaded ??= await this.#load()));
      } finally {
        this.#watch();
      }
    });
  }

  /** Unloads it after what came before. @returns whether it was loaded */
  unload(): Promise<boolean> {
    return this.#inTurn(async () => {
      clearTimeout(this.#idle);
      const held = this.#loaded;
      this.#loaded = undefined;
      await held?.close();
      return held !== undefined;
    });
  }

  /** Unloads it now, whatever works; afterwards nothing is loaded again. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idle);
    const held = this.#loaded;
    this.#loaded = undefined;
    await held?.close();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#tail.then(work);
    this.#tail = done.catch(() => undefined);
    return done;
  }

  async #load(): Promise<LoadedReward & OpenedReward> {
    const closed = (): CancelledError => new CancelledError("reward: expected an open server, got a closed one");
    if (this.#closed) throw closed();
    const opened = await this.open();
    const { reward } = opened;
    try {
      if (this.#closed) throw closed();
      const reference = await referenceOf(reward);
      const facts: RewardFacts = {
        name: reward.name,
        key: rewardKey(reward.name),
        range: reward.range,
        heldOut: reward instanceof WatchedReward ? [...reward.heldOut.keys()] : [],
        reference: reference === undefined ? null : { pictures: reference.pictures, source: reference.source },
      };
      this.#facts = facts;
      return { reward, reference, facts, close: () => opened.close() };
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  #watch(): void {
    if (this.unloadAfterMs === undefined || this.#closed) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => void this.unload().catch(() => undefined), this.unloadAfterMs);
    this.#idle.unref();
  }
}
