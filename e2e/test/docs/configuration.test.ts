// docs/configuration.md and .env.example name every setting of the three processes, and no other.

import { SETTINGS as AGENT } from '@agent-executor/agent/config'
import { CRASH_POINT_NAMES as AGENT_POINTS } from '@agent-executor/agent/crash-points'
import { SETTINGS as SERVER } from '@agent-executor/control-server/config'
import { CRASH_POINT_NAMES as SERVER_POINTS } from '@agent-executor/control-server/crash-points'
import { SETTINGS as GATEWAY } from '@agent-executor/gateway/config'
import { COMMAND_TYPES } from '@agent-executor/protocol'
import type { Setting } from '@agent-executor/runtime'
import t from 'tap'
import { filesBelow, readText, tableRows } from '../../src/documents.ts'

const SETTINGS: readonly Setting[] = [SERVER, AGENT, GATEWAY].flatMap((table) => Object.values(table))
const unique = (values: readonly string[]) => [...new Set(values)].sort()

t.test('every setting is in docs/configuration.md, and the reverse', async (t) => {
  const documented = tableRows(readText('docs/configuration.md'))
    .map(([name, flag]) => `${name} ${flag}`)
    .filter((row) => row.includes('`--'))
  t.same(unique(documented), unique(SETTINGS.map(({ name, flag }) => `\`${name}\` \`${flag}\``)))
  t.equal(documented.length, SETTINGS.length, 'each once for its process')
})

t.test('every setting is in .env.example with its default, and the reverse', async (t) => {
  const shown = [...readText('.env.example').matchAll(/^#\s?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(
    ([, name, value]) => `${name}=${value}`,
  )
  const expected = SETTINGS.map(
    (setting) => `${setting.name}=${setting.kind === 'list' ? setting.default.join(',') : setting.default}`,
  )
  t.same(unique(shown), unique(expected))
})

t.test('.env.example sets nothing', async (t) => {
  t.same(readText('.env.example').match(/^[^#\n].*$/gm), null)
})

const documents = filesBelow('', '.md').filter((path) => path !== 'CHANGELOG.md')

t.test('flags and crash points that the documents use exist', async (t) => {
  const flags = new Set<string>([...SETTINGS.map(({ flag }) => flag), '--help', '--print-config'])
  const points = new Set<string>([...SERVER_POINTS, ...AGENT_POINTS])
  for (const path of documents)
    for (const [, script, rest] of readText(path).matchAll(/(server|main)\.js((?: --[a-z-]+(?:[= ][^\s;`]+)?)*)/g))
      for (const [, flag, value] of (rest as string).matchAll(/(--[a-z-]+)(?:[= ]([^\s;`]+))?/g)) {
        t.ok(flags.has(flag as string), `${path}: ${script}.js ${flag}`)
        if (flag === '--crash-at') t.ok(points.has((value as string).replace(/:\d+$/, '')), `${path}: ${value}`)
      }
})

t.test('settings that the documents assign exist', async (t) => {
  const ofTests = ['FC_RUNS', 'FC_SEED', 'TAP_TIMEOUT']
  const names = new Set<string>([...SETTINGS.map(({ name }) => name), 'NODE_ENV', 'ID', ...COMMAND_TYPES, ...ofTests])
  // The model has flags of its own.
  for (const path of documents.filter((document) => !document.startsWith('docs/model/')))
    for (const [, name] of readText(path).matchAll(/`([A-Z][A-Z0-9_]+)=[^`]*`/g))
      t.ok(names.has(name as string), `${path}: ${name}`)
})
