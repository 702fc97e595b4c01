/** What the code says of itself in the documents: by document, then by the name in its markers. */

import { SETTINGS as AGENT_SETTINGS } from '@agent-executor/agent/config'
import { CRASH_POINTS as AGENT_CRASH_POINTS } from '@agent-executor/agent/crash-points'
import { SETTINGS as SERVER_SETTINGS } from '@agent-executor/control-server/config'
import { CRASH_POINTS as SERVER_CRASH_POINTS } from '@agent-executor/control-server/crash-points'

import { lifecycleDiagram } from '@agent-executor/control-server/lifecycle/diagram'
import { SETTINGS as GATEWAY_SETTINGS } from '@agent-executor/gateway/config'
import { API_ERRORS, FAILURE_CODES } from '@agent-executor/protocol'
import { settingsTable } from '@agent-executor/runtime'
import { markdownTable } from './documents.ts'

const code = (text: string): string => `\`${text}\``

const crashPointTable = (points: Readonly<Record<string, string>>): string =>
  markdownTable(
    ['point', 'where'],
    Object.entries(points).map(([name, where]) => [code(name), where]),
  )

const mermaid = (diagram: string): string =>
  diagram.includes('```') ? diagram : `\`\`\`mermaid\n${diagram.trim()}\n\`\`\``

export const GENERATED_BLOCKS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'docs/command-lifecycle.md': { lifecycle: mermaid(lifecycleDiagram()) },
  'docs/configuration.md': {
    'server-settings': settingsTable(SERVER_SETTINGS),
    'agent-settings': settingsTable(AGENT_SETTINGS),
    'gateway-settings': settingsTable(GATEWAY_SETTINGS),
  },
  'docs/errors.md': {
    'api-errors': markdownTable(
      ['code', 'status', 'meaning'],
      Object.entries(API_ERRORS).map(([name, [status, meaning]]) => [code(name), String(status), meaning]),
    ),
    'failure-codes': markdownTable(
      ['code', 'retryable', 'meaning'],
      Object.entries(FAILURE_CODES).map(([name, [retryable, meaning]]) => [
        code(name),
        retryable ? 'yes' : 'no',
        meaning,
      ]),
    ),
  },
  'docs/reliability.md': {
    'server-crash-points': crashPointTable(SERVER_CRASH_POINTS),
    'agent-crash-points': crashPointTable(AGENT_CRASH_POINTS),
  },
}
