/** @file A client of S3 for an address: the package that speaks it, the server, the region, credentials and timeouts. */

import type * as S3 from "@aws-sdk/client-s3";
import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { loadPackage } from "../util/optional-package.js";
import { Secret } from "../util/secret.js";
import type { Environment } from "../util/user-folders.js";
import { endpointOf, type S3Address } from "./s3-address.js";

/** The package that speaks S3, imported when it is needed: it is large, and optional. */
export type S3Package = typeof S3;

/** @throws UsageError with the command that installs it */
export function importS3(where: string): Promise<S3Package> {
  return loadPackage(() => import("@aws-sdk/client-s3"), ["@aws-sdk/client-s3"], where);
}

/** The server: of the address, else of the environment; undefined for Amazon's. */
export function s3Endpoint(address: S3Address, environment: Environment): URL | undefined {
  if (address.endpoint !== undefined) return address.endpoint;
  for (const name of ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) {
    const text = environment[name] ?? "";
    if (text !== "") return endpointOf(text, name);
  }
  return undefined;
}

/** A client. Nothing is asked of the server or of the chain of credentials yet. */
export function createS3Client(
  { S3Client }: S3Package,
  address: S3Address,
  endpoint: URL | undefined,
  environment: Environment,
): S3Client {
  const amazon = endpoint === undefined || /\.amazonaws\.com(\.cn)?$/.test(endpoint.hostname);
  const region = address.region ?? environment["AWS_REGION"] ?? environment["AWS_DEFAULT_REGION"];
  const credentials = credentialsOf(environment);
  const config: S3ClientConfig = {
    requestHandler: { connectionTimeout: 10_000, socketTimeout: 60_000 },
    forcePathStyle: address.pathStyle ?? !amazon,
    // its own warnings would mix with the output of commands
    logger: SILENT,
    ...(endpoint === undefined ? {} : { endpoint: endpoint.href }),
    // other servers have regions in name only, and some store the trailer of a newer checksum as content
    ...(amazon ? {} : { requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED" }),
    ...(region !== undefined ? { region } : amazon ? {} : { region: "us-east-1" }),
    ...(credentials === undefined ? {} : { credentials }),
  };
  return new S3Client(config);
}

function silent(): void {}
const SILENT = { trace: silent, debug: silent, info: silent, warn: silent, error: silent };

/** Credentials that the environment holds; otherwise the package looks for profiles, web identities and the machine's role. */
function credentialsOf(environment: Environment): S3ClientConfig["credentials"] | undefined {
  const id = environment["AWS_ACCESS_KEY_ID"] ?? "";
  const secret = environment["AWS_SECRET_ACCESS_KEY"] ?? "";
  const token = environment["AWS_SESSION_TOKEN"] ?? "";
  if (id === "" || secret === "") return undefined;
  return {
    accessKeyId: id,
    // what is remembered as a secret is kept out of every message
    secretAccessKey: new Secret(secret, "AWS_SECRET_ACCESS_KEY").reveal(),
    ...(token === "" ? {} : { sessionToken: new Secret(token, "AWS_SESSION_TOKEN").reveal() }),
  };
}
