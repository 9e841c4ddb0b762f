/** @file The description of the server's interface, OpenAPI 3.1; what requests look like comes from the schemas that check them. */

import { z } from "zod";
import { rankSchema, scoreSchema } from "./requests.js";

const nullableNumber = z.number().nullable();

const itemSchema = z.object({
  index: z.number().int().describe("its place in the request, from 0"),
  score: nullableNumber.describe(
    "higher is better; null where the file could not be read or there is no finite number",
  ),
  rank: z.number().int().nullable().describe("1 is the best of the pictures of its prompt"),
  percentile: nullableNumber.describe("per cent of the prompt's other pictures that it is better than"),
  referencePercentile: nullableNumber.describe("per cent of the reward's reference pictures that it is better than"),
  words: z.string().optional().describe("the same in words"),
  scores: z.record(z.string(), nullableNumber).optional().describe("of each member of an ensemble"),
  heldOut: z.record(z.string(), nullableNumber).optional().describe("of rewards that choose nothing"),
  error: z.string().optional().describe("why the file could not be read"),
});

const referenceSchema = z.object({ pictures: z.string(), source: z.string() });

const scoresSchema = z.object({
  schemaVersion: z.literal(1),
  reward: z.string(),
  key: z.string().describe("the key of the score in a picture's generation parameters: ImageReward"),
  results: z.array(itemSchema).describe("in the order of the request"),
  reference: referenceSchema.nullable().describe("what referencePercentile compares with"),
  warnings: z.array(z.string()),
});

const ranksSchema = scoresSchema.extend({
  kept: z.array(z.number().int()).describe("places in the request of what is kept, the best first"),
  messages: z.array(z.string()).describe("what deserves a word: that none reached `min`"),
});

const infoSchema = z.object({
  schemaVersion: z.literal(1),
  name: z.literal("laurel"),
  version: z.string(),
  loaded: z.boolean().describe("whether the reward takes memory now"),
  reward: z
    .object({
      name: z.string(),
      key: z.string(),
      range: z.array(z.number()).length(2),
      heldOut: z.array(z.string()),
      reference: referenceSchema.nullable(),
    })
    .nullable()
    .describe("null before it was first loaded"),
  limits: z.object({
    maxBodyBytes: z.number().int(),
    maxPixels: z.number().int(),
    maxImages: z.number().int(),
    maxWaiting: z.number().int(),
    maxPromptLength: z.number().int(),
  }),
  active: z.number().int().describe("requests that are read, wait or are scored"),
});

const unloadedSchema = z.object({ schemaVersion: z.literal(1), unloaded: z.boolean() });

const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
});

const PROBLEMS: Readonly<Record<string, string>> = {
  "400": "the body is not as it should be; `faults` names the fields",
  "401": "no bearer token, or another one",
  "403": "another host name, or a web page that is not allowed",
  "408": "the request took too long to arrive",
  "413": "too many bytes or pictures",
  "415": "another kind of content",
  "422": "no picture can be read (`errors` says why), or the reward cannot read the prompt",
  "503": "too many requests wait, or the model cannot score; see Retry-After",
};

function schemaOf(schema: z.ZodType): object {
  return Object.fromEntries(
    Object.entries(z.toJSONSchema(schema, { io: "input" })).filter(([key]) => key !== "$schema"),
  );
}

function answerOf(name: string, description: string): object {
  return { description, content: { "application/json": { schema: { $ref: `#/components/schemas/${name}` } } } };
}

function problems(...statuses: readonly string[]): object {
  const content = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };
  return Object.fromEntries(statuses.map((status) => [status, { description: PROBLEMS[status], content }]));
}

/** What a request for scores may be sent as. */
function bodyOf(name: string): object {
  const form = {
    type: "object",
    properties: {
      prompt: { type: "array", items: { type: "string" }, description: "one for all pictures, or one for each" },
      image: { type: "array", items: { type: "string", format: "binary" } },
    },
    required: ["prompt", "image"],
  };
  return {
    required: true,
    content: {
      "application/json": { schema: { $ref: `#/components/schemas/${name}` } },
      "multipart/form-data": { schema: form },
      "image/*": { schema: { type: "string", format: "binary" } },
    },
  };
}

const PROMPT_PARAMETER = {
  name: "prompt",
  in: "query",
  schema: { type: "string" },
  description: "what the picture shows, where the body is the picture itself",
};

function scoring(request: string, answer: string, summary: string): object {
  const responses = {
    "200": answerOf(answer, "scores and ranks"),
    ...problems("400", "401", "403", "408", "413", "415", "422", "503"),
  };
  return { post: { summary, parameters: [PROMPT_PARAMETER], requestBody: bodyOf(request), responses } };
}

/** The whole description; `laurel schema serve` prints it, and `schema/serve-v1.json` holds it. */
export function openApi(): object {
  const refused = problems("401", "403");
  return {
    openapi: "3.1.0",
    info: {
      title: "laurel serve --score",
      version: "1",
      description: "Scores pictures against what they should show, and ranks them.",
    },
    security: [{ token: [] }, {}],
    paths: {
      "/healthz": {
        get: {
          summary: "whether the server answers; needs no token",
          security: [],
          responses: { "200": { description: "it does" }, ...problems("403") },
        },
      },
      "/metrics": {
        get: { summary: "figures for Prometheus", responses: { "200": { description: "as text" }, ...refused } },
      },
      "/v1/info": {
        get: {
          summary: "version, reward, limits",
          responses: { "200": answerOf("Info", "what the server is"), ...refused },
        },
      },
      "/v1/score": scoring("ScoreRequest", "Scores", "score pictures"),
      "/v1/rank": scoring("RankRequest", "Ranks", "score pictures, and choose among them"),
      "/v1/unload": {
        post: {
          summary: "give the reward's memory back; the next request loads it again",
          responses: { "200": answerOf("Unloaded", "whether it was loaded"), ...refused },
        },
      },
    },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: {
        ScoreRequest: schemaOf(scoreSchema),
        RankRequest: schemaOf(rankSchema),
        Scores: schemaOf(scoresSchema),
        Ranks: schemaOf(ranksSchema),
        Info: schemaOf(infoSchema),
        Unloaded: schemaOf(unloadedSchema),
        Problem: schemaOf(problemSchema),
      },
    },
  };
}
