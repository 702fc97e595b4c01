import type { EngineAdapter } from './engine.ts'

/** A file, not an argument: whatever the prompt begins with, it is no option of anybody. */
export const shell: EngineAdapter = {
  name: 'shell',
  call: ({ folders }) => ({
    argv: ['/bin/sh', `${folders.input}/prompt`],
    stdin: 'nothing',
    env: {},
    homeFiles: [],
    quarantine: [],
  }),
  parser: null,
  sessionFiles: [],
}
