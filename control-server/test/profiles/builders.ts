import { CODED_ADAPTERS, type Engine, type Profile } from '@agent-executor/protocol'
import { type Documents, type DocumentVersion, documentKey } from '../../src/profiles/document.ts'
import type { ProfileRequest } from '../../src/profiles/resolve.ts'

export const MAXIMA = {
  runTimeoutMsMax: 86_400_000,
  runMemoryBytesMax: 8_589_934_592,
  runCpusMax: 8,
  runPidsMax: 4096,
  runWorkspaceBytesMax: 4_294_967_296,
  runCostMicroUsdMax: 20_000_000,
}

type Names = { text?: string[]; system?: string[] }

export const profileVersion = (name: string, profile: Profile, names: Names = {}, version = 1): DocumentVersion => ({
  kind: 'profile',
  name,
  version,
  content: { profile, toml: '', names: { text: [], system: [], ...names } },
  origin: 'api',
  seedSha256: null,
  createdAtMs: 1,
})

export const templateVersion = (name: string, text: string, names: string[] = [], version = 1): DocumentVersion => ({
  kind: 'template',
  name,
  version,
  content: { text, names },
  origin: 'api',
  seedSha256: null,
  createdAtMs: 1,
})

export const engineVersion = (name: string, engine: Engine, version = 1): DocumentVersion => ({
  kind: 'engine',
  name,
  version,
  content: { engine, toml: '' },
  origin: 'api',
  seedSha256: null,
  createdAtMs: 1,
})

/** One for each adapter that is code, under its name. */
export const ENGINES: readonly DocumentVersion[] = CODED_ADAPTERS.map((adapter) => engineVersion(adapter, { adapter }))

export const documentsOf = (...versions: readonly DocumentVersion[]): Documents =>
  new Map(versions.map((version) => [documentKey(version.kind, version.name), version]))

export const requestOf = (request: Partial<ProfileRequest> = {}): ProfileRequest => ({
  overrides: {},
  variables: {},
  names: { text: [], system: [] },
  ...request,
})
