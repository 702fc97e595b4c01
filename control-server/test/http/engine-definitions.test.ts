import type { EngineDefinition } from '@agent-executor/protocol'
import t from 'tap'
import { createEngineDefinitions } from '../../src/http/engine-definitions.ts'
import type { DocumentVersion } from '../../src/profiles/document.ts'
import { documentsOf, engineVersion } from '../profiles/builders.ts'

const toldOf = (...versions: readonly DocumentVersion[]) =>
  createEngineDefinitions({ changeCount: () => 0, newest: async () => documentsOf(...versions) }).unseen('')

t.test('agents are told what there is, under a fingerprint that changes with it and with nothing else', async (t) => {
  const shell = engineVersion('shell', { adapter: 'shell' })
  const own = engineVersion('own', { adapter: 'program', program: { argv: ['own'] }, providers: ['openai'] })
  const first = await toldOf(own, shell)
  const { fingerprint = '', engines } = first ?? {}
  t.strictSame(engines, [
    { name: 'own', version: 1, adapter: 'program', image: null, providers: ['openai'], program: { argv: ['own'] } },
    { name: 'shell', version: 1, adapter: 'shell', image: null, providers: [] },
  ] satisfies EngineDefinition[])
  t.equal((await toldOf(shell, own))?.fingerprint, fingerprint, 'in whatever order they were stored')
  for (const other of [
    [shell],
    [shell, engineVersion('own', { adapter: 'program', program: { argv: ['own', '-x'] } }, 2)],
    [shell, { ...own, version: 2, content: null } as typeof own],
  ])
    t.not((await toldOf(...other))?.fingerprint, fingerprint)
})
