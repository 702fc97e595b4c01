/**
 * How the engine of a command is started in its container: the call of its adapter, made into files of the input volume
 * and lines of the entry script. What a repository could run or redirect with lies elsewhere while the engine runs. Pure.
 */
import { adapterOf, type EngineCall } from '@agent-executor/engines'
import { type AdapterName, definitionOf, type EngineDefinition, type RunAgentPayload } from '@agent-executor/protocol'
import { GATEWAY, HOME, INPUT, WORKSPACE } from '../../docker/create-options.ts'
import { quoted } from './environment.ts'

/** Of the sandbox alone, and none that an engine would start something of its own on. */
const GATEWAY_PORT = 47_100
export const GATEWAY_URL = `http://127.0.0.1:${GATEWAY_PORT}`
/** For an agent to be started again, whose gateway dies with it. */
const GATEWAY_PATIENCE_MS = 30_000
const SOCKET = `${GATEWAY}/gateway.sock`

export type Asked = Pick<
  RunAgentPayload,
  'engine' | 'engineDefinition' | 'model' | 'system' | 'tools' | 'mcpServers' | 'resume' | 'egress' | 'secrets'
>

type Named = Pick<RunAgentPayload, 'engine' | 'engineDefinition'>

/** Before engines were documents, an engine was its adapter. */
export const engineOf = ({ engine, engineDefinition }: Named): EngineDefinition =>
  engineDefinition ?? definitionOf(engine, 0, { adapter: engine as AdapterName })

/** Whether it has a language model, whose calls are counted. */
export const hasModel = (payload: Named): boolean => engineOf(payload).providers.length > 0

/** Null where what it prints means nothing but itself. */
export const parserOf = (payload: Named) => adapterOf(engineOf(payload))?.parser ?? null

/** Below the home folder; none where a conversation cannot go on. */
export const sessionFilesOf = (payload: Named): readonly string[] => adapterOf(engineOf(payload))?.sessionFiles ?? []

/** Whether it gets the socket of a gateway. */
export const hasWayOut = (payload: Pick<Asked, 'engine' | 'engineDefinition' | 'egress'>): boolean =>
  hasModel(payload) || (payload.egress ?? []).length > 0

/** Whether the prompt itself is what runs, and nothing goes between. */
export const isPlain = (payload: Pick<Asked, 'engine' | 'engineDefinition' | 'egress'>): boolean =>
  engineOf(payload).adapter === 'shell' && !hasWayOut(payload)

/** `sessionId` is derived from the command, so that an engine that takes one has the same in each attempt. */
export const callOf = (payload: Asked, sessionId: string, folder = INPUT): EngineCall | null =>
  adapterOf(engineOf(payload))?.call({
    model: payload.model ?? null,
    // The payload itself has it without what is secret.
    system: payload.secrets?.system ?? payload.system ?? null,
    tools: payload.tools ?? {},
    mcpServers: payload.mcpServers ?? {},
    sessionId,
    resume: payload.resume?.sessionId ?? null,
    gatewayUrl: GATEWAY_URL,
    folders: { input: folder, home: HOME, workspace: WORKSPACE },
  }) ?? null

export type EngineFiles = {
  /** Replaces itself by the engine; in a file, since `docker inspect` shows what a container begins with. */
  script: string
  /** Paths below the home folder. */
  home: EngineCall['homeFiles']
}

/** What the input volume gets of an engine that is not the prompt itself; null for one that is. */
export function engineFiles(payload: Asked, call: EngineCall): EngineFiles | null {
  if (isPlain(payload)) return null
  const through = hasWayOut(payload) ? ['node', `${INPUT}/forwarder.mjs`, String(GATEWAY_PORT), SOCKET] : []
  const stdin = call.stdin === 'prompt' ? `${INPUT}/prompt` : '/dev/null'
  const engine = ['/bin/sh', '-c', `exec "$@" <${stdin}`, 'sh', ...call.argv]
  const patience = `FORWARDER_PATIENCE_MS=${GATEWAY_PATIENCE_MS}; export FORWARDER_PATIENCE_MS`
  return { script: `${patience}\nexec ${[...through, ...engine].map(quoted).join(' ')}\n`, home: call.homeFiles }
}

/** What it finds in its environment, whatever the command says. A proxy is for the hosts of the profile, and for them alone. */
export const engineEnv = ({ egress = [], ...named }: Asked, call: EngineCall): [string, string][] => [
  ...(egress.length === 0
    ? []
    : [
        ...['HTTPS_PROXY', 'https_proxy'].map((name): [string, string] => [name, GATEWAY_URL]),
        ...['NO_PROXY', 'no_proxy'].map((name): [string, string] => [name, '127.0.0.1,localhost']),
        ['NODE_USE_ENV_PROXY', '1'] satisfies [string, string],
      ]),
  ...Object.entries(call.env),
  // With another one it would read its settings from where the command says.
  ...(engineOf(named).adapter === 'shell' ? [] : [['HOME', HOME] satisfies [string, string]]),
]

const ASIDE = '/tmp/.agent-executor-aside'

/** `set_aside` and `put_back`; what the engine has written in the place of something stays. Empty where there is nothing to do. */
export function quarantine({ quarantine }: Pick<EngineCall, 'quarantine'>): string[] {
  if (quarantine.length === 0) return []
  const patterns = quarantine.map((pattern) => pattern.split('*').map(bare).join('*')).join(' ')
  return [
    // $1 to $2, what is there and has no successor.
    'moved() {',
    '  cd "$1" || return',
    `  for each in ${patterns}; do`,
    '    if [ ! -e "$each" ] && [ ! -L "$each" ]; then continue; fi',
    '    if [ -e "$2/$each" ] || [ -L "$2/$each" ]; then continue; fi',
    `    case $each in */*) mkdir -p "$2/\${each%/*}" || return;; esac`,
    '    mv "$each" "$2/$each" || return',
    '  done',
    '}',
    `set_aside() { mkdir -p ${ASIDE} && (moved ${WORKSPACE} ${ASIDE}); }`,
    `put_back() { (moved ${ASIDE} ${WORKSPACE}); }`,
  ]
}

const bare = (text: string): string => (/^[A-Za-z0-9._/-]*$/.test(text) ? text : quoted(text))
