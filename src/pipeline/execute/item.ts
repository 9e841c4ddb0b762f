/** @file One item's way through the steps. What a killed run already has is taken, not made again. */

import { join } from "node:path";
import type { ImageBackend } from "../../backends/contract.js";
import { type OpenRequest, resolveRequest } from "../../backends/resolve.js";
import type { RgbImage } from "../../image/types.js";
import type { Reward } from "../../rewards/contract.js";
import { bestOfN } from "../../strategies/best-of-n.js";
import type { Budget, Candidate, Lineage, Strategy, StrategyContext } from "../../strategies/contract.js";
import { strategyOf } from "../../strategies/open.js";
import { rank } from "../../strategies/rank.js";
import { unlessAborted } from "../../util/abort.js";
import { promptMeaning } from "../../prompts/attention-syntax.js";
import type { MadeFrom } from "../candidate-record.js";
import { readPicture } from "../inputs.js";
import { keptCandidates } from "../kept.js";
import {
  IMG2IMG_STRENGTH,
  type OpenSettings,
  type PlanFile,
  type PlanItem,
  type PlanStep,
  placesOf,
  requestSettings,
} from "../document/plan.js";
import type { ItemLine, PlacedCandidate } from "./manifest.js";
import type { PipelineRun } from "./pipeline-run.js";

/** What carrying out an item takes. */
export interface ItemContext {
  readonly run: PipelineRun;
  readonly item: PlanItem;
  readonly backend: ImageBackend;
  readonly reward: Reward;
  /** The strategy that a refine step stands for, for one item. */
  readonly refiner: (step: Extract<PlanStep, { kind: "refine" }>, item: number) => Promise<Strategy>;
  /** Reads a picture that the plan names. */
  readonly picture: (path: string) => Promise<RgbImage>;
  readonly signal: AbortSignal;
  readonly onWarning: (message: string) => void;
  /** Called with the share of a candidate that was drawn, and with each stored candidate. */
  readonly onProgress: () => void;
  /** Called with the end of a strategy that is left, which stops what it had drawn ahead. */
  readonly onLeave: (end: Promise<unknown>) => void;
}

/** How far an item is. */
interface ItemState {
  /** What is drawn next: the template filled in, or what a refinement found. */
  drawn: string;
  /** Next free place among the item's candidates. */
  position: number;
  /** Candidates of the step that drew last. */
  current: readonly PlacedCandidate[];
  selected: readonly PlacedCandidate[];
  readonly all: PlacedCandidate[];
}

/** What one drawing of a step is. */
interface Drawing {
  readonly strategy: Strategy;
  /** False draws without scoring. */
  readonly scored: boolean;
  readonly stepIndex: number;
  readonly count: number;
  /** Indices that its candidates may have. @default as many as there are candidates */
  readonly places?: number | undefined;
  readonly settings: OpenSettings;
  readonly until: Budget["until"];
  readonly start: Start | undefined;
}

/** What a drawing starts from instead of from noise. */
interface Start {
  readonly init: RgbImage;
  readonly mask: RgbImage | undefined;
  /** How far it goes where no setting says; undefined leaves it to the backend. */
  readonly strength: number | undefined;
  /** The candidate that `init` is; null for a picture of the plan. */
  readonly parent: PlacedCandidate | null;
  readonly inputs: MadeFrom["inputs"];
}

/** Carries an item through all steps. @throws what backend, reward and store throw; what is stored stays */
export async function executeItem(context: ItemContext): Promise<ItemLine> {
  const { run, item } = context;
  const { steps } = run.plan;
  const state: ItemState = { drawn: item.drawn, position: 0, current: [], selected: [], all: [] };
  for (const [stepIndex, step] of steps.entries()) {
    const scored = steps[stepIndex + 1]?.kind === "score";
    const plain = { stepIndex, strategy: bestOfN, scored, until: undefined, start: undefined };
    switch (step.kind) {
      case "generate":
        state.current = await draw(context, state, {
          ...plain,
          strategy: step.strategy === undefined ? bestOfN : strategyOf(step.strategy),
          count: step.count,
          places: placesOf(step),
          settings: step.settings,
          until: step.until,
          start: await startOf(context, step),
        });
        state.selected = state.current;
        break;
      case "img2img": {
        const drawn: PlacedCandidate[] = [];
        for (const parent of state.selected) {
          const init = await readPicture(join(run.directory, parent.image));
          const inputs = { init: null, mask: null };
          const start = { init, mask: undefined, strength: IMG2IMG_STRENGTH, parent, inputs };
          const { count, settings } = step;
          drawn.push(...(await draw(context, state, { ...plain, count, settings, start })));
        }
        state.current = drawn;
        state.selected = drawn;
        break;
      }
      case "refine": {
        const strategy = await context.refiner(step, item.index);
        state.current = await draw(context, state, {
          ...plain,
          strategy,
          scored: true,
          count: step.budget,
          settings: step.settings,
        });
        state.selected = rank(state.current).slice(0, 1);
        break;
      }
      case "select":
        if (step.per === "item") {
          const { minimum = -Infinity } = step;
          const good = state.current.filter(({ score }) => score !== null && score >= minimum);
          state.selected = await keptCandidates(run.directory, good, step, context.reward, context.signal);
        }
        break;
      case "score": // together with the step before it
      case "export": // for all items together, at the end
        break;
      default:
        step satisfies never;
    }
  }
  return {
    schemaVersion: 1,
    index: item.index,
    id: item.id,
    prompt: item.prompt,
    drawn: state.drawn,
    cell: { ...item.cell },
    candidates: state.all.length,
    evaluations: state.all.reduce((sum, one) => sum + one.evaluations, 0),
    best: rank(state.all)[0] ?? null,
    selected: rank(state.selected),
    error: null,
  };
}

/** Draws with a strategy into the next free places of the item; returns all that is there then, what was recorded before included. */
async function draw(context: ItemContext, state: ItemState, drawing: Drawing): Promise<PlacedCandidate[]> {
  const { run, item, backend, signal } = context;
  const { strategy, stepIndex, start, places = drawing.count } = drawing;
  const offset = item.index * run.plan.candidatesPerItem + state.position;
  const { strength, ...settings } = requestSettings({ ...item.settings, ...drawing.settings });
  const open: OpenRequest = {
    ...settings,
    prompt: state.drawn,
    seed: run.seedOf(item.index) + state.position,
    count: drawing.count,
    ...(start === undefined ? {} : { init: start.init, mask: start.mask, strength: strength ?? start.strength }),
  };
  const resolved = resolveRequest(backend, open);
  for (const message of resolved.warnings) context.onWarning(message);
  const recorded = run.recorded(item.index).filter(({ index }) => index >= offset && index < offset + places);
  const placed = new Map(
    recorded.map(({ index, seed, score, image, evaluations }): [number, PlacedCandidate] => [
      index,
      { index, seed, score, image, evaluations },
    ]),
  );
  const strategyContext: StrategyContext = {
    backend,
    reward: drawing.scored ? context.reward : undefined,
    request: resolved.request,
    scoredPrompt: promptMeaning(item.prompt, resolved.request.promptSyntax ?? "plain"),
    budget: { candidates: drawing.count, until: drawing.until },
    finished: recorded.map(({ image, ...one }) => ({
      ...one,
      index: one.index - offset,
      picture: () => readPicture(join(run.directory, image)),
    })),
    signal,
    onProgress: context.onProgress,
  };
  const extra = { item: item.id, step: stepIndex };
  const from: MadeFrom = {
    inputs: start?.inputs ?? { init: null, mask: null },
    embeddings: filesOf(run, settings.embeddings ?? []),
    loras: filesOf(
      run,
      (resolved.request.loras ?? []).map(({ path }) => path),
    ),
  };
  const events = strategy.run(strategyContext);
  try {
    for (;;) {
      // a native call that cannot be stopped must not hold up a cancellation
      const { value: event, done } = await unlessAborted(events.next(), signal);
      if (done === true) break;
      if (event.type === "warning") context.onWarning(event.message);
      else if (event.type === "refined") state.drawn = event.prompt;
      else if (event.type === "scored") {
        if (event.candidate.index >= places) {
          context.onWarning(
            `${strategy.name}: expected at most ${places} candidates of an item, got more; it ends there`,
          );
          break;
        }
        const candidate: Candidate = {
          ...event.candidate,
          index: offset + event.candidate.index,
          lineage: {
            ...lineageOf(event.candidate, offset, start),
            strategy: nameOf(drawing),
          },
        };
        placed.set(candidate.index, await run.append(candidate, { score: event.score, ...event.details }, extra, from));
        context.onProgress();
      }
    }
  } finally {
    context.onLeave(events.return(undefined).catch(() => undefined));
  }
  state.position += places;
  const result = [...placed.values()].sort((a, b) => a.index - b.index);
  state.all.push(...result);
  return result;
}

/** What the plan says of the files at `paths`. */
function filesOf({ plan }: PipelineRun, paths: readonly string[]): readonly PlanFile[] {
  return paths.flatMap((path) => plan.files.filter((file) => file.path === path));
}

/** The lineage of a candidate among those of the run: its strategy counts from 0 in each step. */
function lineageOf({ lineage }: Candidate, offset: number, start: Start | undefined): Lineage {
  const { parent, path } = lineage;
  return {
    ...lineage,
    parent: start?.parent?.index ?? (parent === null ? null : offset + parent),
    ...(path === undefined ? {} : { path: path.map(({ step, from }) => ({ step, from: offset + from })) }),
  };
}

function nameOf({ strategy, scored, start }: Drawing): string {
  return (start?.parent ?? null) !== null ? "img2img" : scored ? strategy.name : "draw";
}

/** The pictures of the plan that a generate step starts from. */
async function startOf(
  { picture, run }: ItemContext,
  { init, mask }: Extract<PlanStep, { kind: "generate" }>,
): Promise<Start | undefined> {
  if (init === undefined) return undefined;
  const record = (path: string | undefined) => run.plan.files.find((file) => file.path === path) ?? null;
  return {
    init: await picture(init),
    mask: mask === undefined ? undefined : await picture(mask),
    strength: undefined,
    parent: null,
    inputs: { init: record(init), mask: record(mask) },
  };
}
