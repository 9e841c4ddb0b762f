import { describe, expect, test } from "vitest";
import { compareStrategies, type StrategyComparison, type StrategyTrial } from "#laurel/evaluation/strategy-comparison";
import { verdictOf } from "#laurel/evaluation/strategy-verdict";
import { type ComparisonAbout, comparisonPage } from "#laurel/report/comparison-page";
import { smallRandom } from "#laurel/util/statistics";
import { inventTrial } from "../evaluation/strategy-trials.js";

const PARTICLES = "particles:lambda=3:from=0.5:to=0.8:times=2";
const GUIDE = { key: "guide", title: "the judge", kind: "guide" } as const;
const WATCH = { key: "watch", title: "the other judge", kind: "held-out" } as const;
const HOLDS = { key: "holds", title: "share that holds", kind: "truth" } as const;
const DIVERSITY = { key: "diversity", title: "diversity in bits", kind: "diversity" } as const;
const METRICS = [GUIDE, WATCH, HOLDS, DIVERSITY];

/** How far a strategy's metrics are from the baseline's. */
type Effects = Readonly<Record<string, Readonly<Partial<Record<"guide" | "watch" | "holds" | "diversity", number>>>>>;

function compared(
  effects: Effects,
  { metrics = METRICS, budgets = [4, 16], prompts = 24, change = {} }: { metrics?: (typeof METRICS)[number][]; budgets?: number[]; prompts?: number; change?: Partial<StrategyTrial> } = {}, // prettier-ignore
): StrategyComparison {
  const random = smallRandom(3);
  const trials = Object.entries({ "best-of-n": {}, ...effects }).flatMap(([strategy, effect]: [string, Effects[string]]) =>
    budgets.flatMap((budget) =>
      Array.from({ length: prompts }, (_, index) => {
        const noise = (): number => 0.1 * (random() - 0.5);
        const value = (key: keyof typeof effect): number => (effect[key] ?? 0) + index / 50 + noise();
        const values = { guide: value("guide"), watch: value("watch"), holds: value("holds"), diversity: value("diversity") };
        return inventTrial({ strategy, budget, index, metrics: values, ...(strategy === "best-of-n" ? {} : change) });
      }),
    ),
  ); // prettier-ignore
  return compareStrategies(trials, "best-of-n", metrics);
}

const ABOUT: ComparisonAbout = {
  title: "Six strategies",
  runId: "comparison",
  generator: "demo",
  guide: "the judge",
  sampler: "ddim",
  steps: "20",
  guidance: "3",
  date: "2026-11-23T07:15:00.123Z",
  version: "0.1.0",
  command: `laurel compare --strategies "<all>"`,
};

describe("the verdict", () => {
  test("takes what the truth shows to be better, best estimate first, and names what is worse", () => {
    const [small, large, ...rest] = verdictOf(
      compared({ a: { holds: 0.2 }, [PARTICLES]: { holds: 0.5 }, c: { holds: -0.3, guide: 0.9 }, d: { guide: 0.4 } }),
    );
    expect(small).toMatch(/^4 pictures: take particles:lambda=3:from=0\.5:to=0\.8:times=2\. Share that holds \+0\.[45]\d\d \(\+0\.\d+ to \+0\.\d+\) against best-of-n\. Also shown to be better: a, share that holds \+0\.[12]/); // prettier-ignore
    expect(small).toMatch(/Shown to be worse: c, share that holds −0\.\d+ \(−0\.\d+ to −0\.\d+\)\./);
    expect(small).toMatch(/A higher guide, with nothing shown on the truth: d\.$/);
    expect(large).toMatch(/^16 pictures: take particles/);
    expect(rest).toEqual([]);
  });

  test("takes the baseline where nothing beats it, as where a strategy is like it", () => {
    expect(verdictOf(compared({ a: {} }, { budgets: [1, 8] }))).toEqual([
      "1 picture: no strategy is shown to beat best-of-n; take best-of-n.",
      "8 pictures: no strategy is shown to beat best-of-n; take best-of-n.",
    ]);
  });

  test("stands on held-out rewards without a truth, and on the guide alone with a remark", () => {
    const effects = { a: { guide: 0.5, watch: -0.5 }, b: { guide: 0.3, watch: 0.3 } };
    const [watched] = verdictOf(compared(effects, { metrics: [GUIDE, WATCH] }));
    expect(watched).toMatch(/take b\. The other judge \+0\.[23]\d+ .*Shown to be worse: a, the other judge −0\.[45]/);
    const [guided] = verdictOf(compared(effects, { metrics: [GUIDE] }));
    expect(guided).toMatch(
      /take a\. The judge \+0\.[45]\d+ .*The guide judged its own choice here.*Also shown to be better: b/,
    );
  });

  test("asks of several truths that none is worse", () => {
    const facts = { key: "watch", title: "share of facts", kind: "truth" } as const;
    const [text] = verdictOf(compared({ a: { holds: 0.4, watch: -0.4 }, b: { watch: 0.2 } }, { metrics: [HOLDS, facts] as never })); // prettier-ignore
    expect(text).toMatch(/take b\. Share of facts \+0\.[12]\d+ .*Better and worse at once: a, share that holds \+0\.\d+ .*, share of facts −0\.\d+/); // prettier-ignore
  });

  test("says what a better strategy costs: diversity, or more than its budget; and that prompts are few", () => {
    const [text, few] = verdictOf(compared({ a: { holds: 0.5, diversity: -0.5 } }, { budgets: [4], prompts: 12, change: { compute: 5 } })); // prettier-ignore
    expect(text).toMatch(/But its pictures are less diverse\. But it spent 125 % of the budget\./);
    expect(few).toMatch(/^12 distinct prompts are few/);
  });
});

describe("the page", () => {
  const comparison = compared(
    { [PARTICLES]: { holds: 0.5, guide: 0.5 }, halving: { holds: -0.5 } },
    { change: { warnings: ["halving: no <cut> was worth it: 0.21"], work: { evaluation: 2, scoringGradient: 1 } } },
  );

  test("is self-contained and has every strategy, budget and metric with its verdict", () => {
    const page = comparisonPage(comparison, ABOUT);
    expect(page).not.toMatch(/https?:|<script|@import|url\(|NaN|undefined|Infinity/);
    expect(page.match(/(?:src|href)="(?!data:)/g)).toBeNull();
    const text = page.replaceAll("<wbr>", "");
    for (const strategy of comparison.strategies) expect(text).toContain(strategy);
    for (const { title } of METRICS) expect(text.split(title).length).toBeGreaterThan(3); // curve, differences, table
    expect(text).toMatch(/4 pictures: take particles:lambda=3:from=0\.5:to=0\.8:times=2/);
    expect(text).toContain(`laurel compare --strategies &#34;&#60;all&#62;&#34;`);
    expect(text).toContain("2026-11-23 07:15 UTC");
    expect(text).toMatch(
      /halving<\/span\s*>, in 100 % of the searches at 4, 100 % at 16: no &#60;cut&#62; was worth it/,
    );
    expect(text).toMatch(/gradient of the score/);
  });

  test("has a mark with its numbers for every difference, at its place on a shared scale", () => {
    const page = comparisonPage(comparison, ABOUT);
    const titles = [...page.matchAll(/<title>([^<]*)<\/title>/g)].map(([, title = ""]) => title);
    const marks = titles.filter((title) => /, (better|worse|undecided)$/.test(title));
    expect(marks).toHaveLength(2 * 2 * METRICS.length);
    for (const title of marks) expect(title).toMatch(/ at (4|16): [+−]?0\.\d+ \([+−]?\d\.\d+ to [+−]?\d\.\d+\), /);
    const plot = /<section class="card forest">\s*<h3>share that holds[^]*?<\/section>/.exec(page)![0];
    const zero = Number(/class="zero"\s+x1="([\d.]+)%"/.exec(plot)![1]);
    const dots = [...plot.matchAll(/<circle cx="([\d.]+)%"/g)].map(([, x]) => Number(x));
    expect(dots.map((x) => Math.sign(x - zero))).toEqual([1, 1, -1, -1]);
    // the same distances to both sides for differences of the same size
    expect((dots[0]! - zero) / (zero - dots[2]!)).toBeCloseTo(1, 0);
  });

  test("keeps hostile prompts and names as text, and shows pictures as they are", () => {
    const image = { uri: "data:image/png;base64,AAAA", width: 32, height: 32 };
    const pictures = [
      { strategy: "best-of-n", image, guide: 1.25, holds: true },
      { strategy: PARTICLES, image: { ...image, width: 512 }, guide: Number.NaN, holds: false },
    ];
    const hostile = `</p><script>alert("1")</script>`;
    const page = comparisonPage(compared({ [`a"><script>`]: {} }), {
      ...ABOUT,
      examples: [{ prompt: hostile, budget: 4, pictures }],
    });
    expect(page).not.toContain("<script");
    expect(page).toContain("&#60;/p&#62;&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;");
    expect(page.match(/class="small"/g)).toHaveLength(1);
    expect(page).toMatch(/guide 1\.250[^]*✓ as stated[^]*guide -[^]*✗ not as stated/);
  });

  test("says where a strategy made no searches", () => {
    const arms = comparison.arms.filter(({ strategy, budget }) => strategy !== "halving" || budget > 4);
    const page = comparisonPage({ ...comparison, arms }, ABOUT);
    expect(page).toMatch(/halving<\/span\s*>, no searches at 4/);
    expect(page).toMatch(/\s3 comparisons of strategies and budgets/);
  });

  test("of figures that were read from JSON, of one budget, or of the baseline alone is whole, too", () => {
    const silent = { key: "silent", title: "nothing known", kind: "held-out" } as const;
    const bare = compared({ a: {} }, { budgets: [4], metrics: [GUIDE, silent] as never, prompts: 3 });
    for (const one of [bare, compared({}, { prompts: 1 })]) {
      const page = comparisonPage(JSON.parse(JSON.stringify(one)) as StrategyComparison, ABOUT);
      expect(page).not.toMatch(/NaN|undefined|Infinity|>null/);
      expect(page).toContain("no strategy is shown to beat best-of-n");
    }
  });
});
