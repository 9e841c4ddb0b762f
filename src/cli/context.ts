/** @file What a command gets beside its arguments: streams, a signal, and the way to open models. */

import type { ImageBackend } from "../backends/contract.js";
import type { DiffusionModelOptions } from "../diffusion/stable-diffusion.js";
import type { Reward } from "../rewards/contract.js";
import type { ScoringDType } from "../rewards/image-reward.js";
import type { DeviceChoice } from "../runtime/execution-providers.js";
import type { Terminal } from "./output.js";

/** What a session's models run on, as a command's options say. */
export interface SessionOptions {
  /** @default "cpu" */
  readonly device?: DeviceChoice | undefined;
  /** One network is held at a time, and large pictures are decoded in tiles. */
  readonly lowMemory?: boolean | undefined;
  /** Side of the tiles that pictures are decoded in, in pixels. */
  readonly vaeTile?: number | undefined;
  /** Told of operators that run on the cpu instead, and of memory that may not suffice. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** Which weights of a generator are taken, and in what they are computed. */
export type ModelReading = Pick<DiffusionModelOptions, "variant" | "prediction" | "dtype">;

/** Models in use by a command. */
export interface ModelSession {
  /** Milliseconds inside programs so far. */
  programMs(): number;
  /** The generator in a folder or file, or the one that ships inside. @throws ModelError */
  openBackend(path: string | null, reading?: ModelReading): Promise<ImageBackend>;
  /** The ImageReward in a file or folder, or the one that ships inside. @param dtype what it computes in @throws ModelError */
  openReward(path: string | null, dtype?: ScoringDType): Promise<Reward>;
  /** Any reward by its name or path, of whatever kind. @throws ModelError */
  openNamedReward(name: string): Promise<Reward>;
  /** Ends the device; what still runs there is stopped. */
  close(): Promise<void>;
}

/** Everything outside its arguments that a command depends on. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** Starts a session; tests give one with small procedural models. @throws BackendError when the device asked for is not there */
  openSession(options?: SessionOptions): Promise<ModelSession>;
}

/** What a command does; resolves to the exit code. */
export type Action<Flags> = (context: CommandContext, positional: readonly string[], flags: Flags) => Promise<number>;
