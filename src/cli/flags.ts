/** @file What the commands take: the type of an action, and the options of each command as parsed. */

import type { CommandContext } from "./context.js";

/** What a command does; resolves to the exit code. */
export type Action<Options> = (
  context: CommandContext,
  positional: readonly string[],
  options: Options,
) => Promise<number>;

/** Options of `laurel generate`. */
export interface GenerateFlags extends RunFlags {
  readonly count: number;
  readonly keep?: number;
  readonly seed?: number;
  readonly negative?: string;
  readonly steps?: number;
  readonly guidance?: number;
  readonly sampler?: string;
  readonly width?: number;
  readonly height?: number;
  readonly batch?: number;
  readonly model?: string;
  readonly rewardModel?: string;
  readonly out: string;
}

/** Options shared by the commands that work on a run. */
export interface RunFlags {
  readonly durable?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Options of `laurel rerun`. */
export interface RerunFlags extends RunFlags {
  readonly out: string;
}

/** Options of `laurel score`. */
export interface ScoreFlags {
  readonly rewardModel?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Options of `laurel demo evaluate`. */
export interface DemoFlags {
  readonly models?: string;
  readonly prompts: number;
  readonly images: number;
  readonly renders: number;
  readonly steps?: number;
  readonly guidance?: number;
  readonly sampler?: string;
  readonly sweep?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Options of `laurel demo train`. */
export interface DemoTrainFlags {
  readonly out: string;
  readonly from?: string;
  readonly config?: string;
  readonly minutes?: number;
  readonly steps?: number;
  readonly resume?: boolean;
  readonly threads?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}
