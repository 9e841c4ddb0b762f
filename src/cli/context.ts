/** @file What a command gets beside its arguments: streams, a signal, and the way to open models. */

import type { ImageBackend } from "../backends/contract.js";
import type { Reward } from "../rewards/contract.js";
import type { Terminal } from "./output.js";

/** Models in use by a command. */
export interface ModelSession {
  /** Milliseconds inside programs so far. */
  programMs(): number;
  /** The generator in `directory`, or the one that ships inside. @throws ModelError */
  openBackend(directory: string | null): Promise<ImageBackend>;
  /** The reward in a file or folder, or the one that ships inside. @throws ModelError */
  openReward(path: string | null): Promise<Reward>;
  /** Any reward by its name or path, of whatever kind. @throws ModelError */
  openNamedReward(name: string): Promise<Reward>;
  /** Ends the device; what still runs there is stopped. */
  close(): Promise<void>;
}

/** Everything outside its arguments that a command depends on. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** Starts a session; tests give one with small procedural models. */
  openSession(): Promise<ModelSession>;
}

/** What a command does; resolves to the exit code. */
export type Action<Flags> = (context: CommandContext, positional: readonly string[], flags: Flags) => Promise<number>;
