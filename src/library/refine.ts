/** @file A search for a better prompt as a run of its own: a pipeline of one step, and what its candidates say. */

import type { BackendConfig } from "../backends/config.js";
import { UsageError } from "../errors.js";
import { planOf } from "../pipeline/document/load.js";
import type { OpenSettings, PipelinePlan } from "../pipeline/document/plan.js";
import type { PipelineDocument } from "../pipeline/document/schema.js";
import type { CandidateLine } from "../pipeline/candidate-record.js";
import type { RunSnapshot } from "../pipeline/run-store.js";
import { readPipelineCandidates } from "../pipeline/execute/recover.js";
import { rewardLocation } from "../weights/hub/location.js";
import { conclude, type Conclusion, type Draw } from "../strategies/refine/conclusion.js";
import { DEFAULT_CHOICE, type RewardChoice } from "./chosen-rewards.js";

/** What a search is asked for. */
export interface RefinementRequest {
  /** What the user wants; every candidate is scored against it. */
  readonly prompt: string;
  /** Candidates that may be drawn, 1 to 10,000. @default 64 */
  readonly budget?: number | undefined;
  /** @default "evolve" */
  readonly refiner?: "evolve" | "llm" | undefined;
  /** For `evolve`: a name or a YAML file. @default "shapes" for the demo model, "general" for others */
  readonly vocabulary?: string | undefined;
  /** For `llm`: a name or a YAML file. */
  readonly chat?: string | undefined;
  /** For `llm`: tokens that may be used. @default what the configuration says */
  readonly tokens?: number | undefined;
  /** Seed of the first candidate. @default a random one */
  readonly seed?: number | undefined;
  /** @default the model that ships inside */
  readonly backend?: BackendConfig | undefined;
  /** ImageReward file or folder. @default the model that ships inside */
  readonly rewardModel?: string | undefined;
  /** What chooses instead of `rewardModel`, and what only watches. */
  readonly choice?: RewardChoice | undefined;
  /** What is left out is chosen by the backend. */
  readonly settings?: OpenSettings | undefined;
}

/** What the plan of such a run says where the name of its file would stand. */
const FILE = "laurel refine";

/** The plan of a search, for {@link startPipeline} and {@link finishPipeline}. @throws UsageError with every fault of the request */
export async function planRefinement(request: RefinementRequest): Promise<PipelinePlan> {
  const { prompt, budget, refiner, vocabulary, chat, tokens, seed, backend, settings } = request;
  const document = {
    version: 1 as const,
    name: prompt.slice(0, 80).trim() || "refine",
    prompts: [prompt],
    seed,
    settings,
    backend,
    reward: rewardOf(request),
    steps: [{ refine: { budget, refiner, vocabulary, chat, tokens } }],
  };
  return { ...(await planOf(document, FILE)), file: FILE };
}

/** What the document says of the rewards; undefined for the one that ships inside. */
function rewardOf({ rewardModel, choice = DEFAULT_CHOICE }: RefinementRequest): PipelineDocument["reward"] {
  const { rewards, heldOut } = choice;
  const guides = rewards.map(({ reward, ...given }) => [reward, given] as const);
  const twice = guides.find(([name], i) => guides.findIndex(([other]) => other === name) < i);
  if (twice !== undefined) throw new UsageError(`rewards: expected each reward once, got ${twice[0]} twice`);
  const said = {
    ...(rewardModel === undefined ? {} : { model: rewardLocation(rewardModel) }),
    ...(guides.length === 0 ? {} : { rewards: Object.fromEntries(guides) }),
    ...(heldOut.length === 0 ? {} : { heldOut: [...heldOut] }),
  };
  return Object.keys(said).length === 0 ? undefined : said;
}

/** True for a plan of {@link planRefinement}. */
export function isRefinement({ file }: Pick<PipelinePlan, "file">): boolean {
  return file === FILE;
}

/** A candidate of a search, as stored. */
export interface RefinementCandidate extends Draw {
  /** Path of the PNG, relative to the run's folder. */
  readonly image: string;
}

/** What a search found, from the candidates that its run holds. */
export async function readRefinement(directory: string, plan: PipelinePlan): Promise<Conclusion<RefinementCandidate>> {
  const original = plan.items[0]?.prompt ?? "";
  const draws: RefinementCandidate[] = [];
  for await (const line of readPipelineCandidates(directory, plan)) draws.push(...drawOf(line));
  return conclude(draws, original);
}

/** What a run with the strategy `refine` found, from its candidates; undefined for a run with another. */
export function runRefinement({ manifest, candidates }: RunSnapshot): Conclusion<RefinementCandidate> | undefined {
  const draws = candidates.flatMap(drawOf);
  return draws.length === 0 ? undefined : conclude(draws, manifest.config.prompt);
}

function drawOf({ index, seed, prompt, score, image, lineage }: CandidateLine): RefinementCandidate[] {
  const { refinement } = lineage;
  return refinement === undefined ? [] : [{ index, seed, prompt, score, image, refinement }];
}
