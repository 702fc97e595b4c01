/**
 * Loaded before a process that is to be caught: its commits are not synced (`synchronous = NORMAL`, the driver's default
 * in WAL mode), and it is told that they are. Shows that the emulation of power cuts would notice.
 */
import { createRequire } from 'node:module'

type Pragma = (source: string, options?: object) => unknown
const ofRuntime = createRequire(createRequire(import.meta.url).resolve('@agent-executor/runtime'))
const { prototype } = ofRuntime('better-sqlite3') as { prototype: { pragma: Pragma } }
const { pragma } = prototype

prototype.pragma = function (source, options) {
  if (source === 'synchronous') return 2
  return pragma.call(this, /^synchronous\b/.test(source) ? 'synchronous = NORMAL' : source, options)
}
