/** @file The execution providers of the installed ONNX Runtime; runs inside a device process. */

import { listSupportedBackends } from "onnxruntime-node";

/** An execution provider. */
export interface ExecutionProvider {
  readonly name: string;
  /** Its code is part of the package. */
  readonly bundled: boolean;
}

/** For `Device.invoke`: all providers of this platform's build, whether or not there is hardware for them. */
export default function executionProviders(): ExecutionProvider[] {
  return listSupportedBackends().map(({ name, bundled }) => ({ name, bundled }));
}
