// What a run gets of a profile: all of it, nothing that was not there, and no secret where somebody can read it.
import type { Profile, RunAgentSubmission } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import { profileRunOf, runRefusal } from '../../src/profiles/profile-run.ts'
import { type Resolved, resolve } from '../../src/profiles/resolve.ts'
import { documentsOf, ENGINES, MAXIMA, profileVersion, requestOf, templateVersion } from './builders.ts'

const resolved = (profile: Profile, request = requestOf()): Resolved => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('base', { agent: { engine: 'shell', timeoutMs: 60_000 } }, {}, 4),
    templateVersion('text', 'echo', [], 7),
    profileVersion('own', { extends: 'base', prompt: { template: 'text' }, ...profile }, {}, 2),
  )
  const answer = resolve(documents, 'own', request, MAXIMA)
  if (!answer.ok) throw new Error(JSON.stringify(answer.refusal))
  return answer.resolved
}
const runOf = (of: Resolved, submission: RunAgentSubmission = {}) =>
  profileRunOf({ profile: 'own', ...submission }, of, { shown: 'shown', real: 'shown' })

t.test('every value is in the payload, and the versions it comes from', async (t) => {
  const hook = { script: 'true' }
  const { payload, secrets, timeoutMs } = runOf(
    resolved({
      agent: { image: 'i:1', idleTimeoutMs: 5 },
      resources: { cpus: 0.5, workspaceBytes: 2_097_152 },
      hooks: { always: hook, pre: { script: 'x', timeoutMs: 7 } },
    }),
    { env: { A: 'b' }, files: [{ path: 'f', content: '' }], dryRun: true },
  )
  t.same(payload, {
    engine: 'shell',
    engineDefinition: { name: 'shell', version: 1, adapter: 'shell', image: null, providers: [] },
    prompt: 'shown',
    image: 'i:1',
    env: { A: 'b' },
    files: [{ path: 'f', content: '' }],
    idleTimeoutMs: 5,
    resources: { memoryBytes: 2_147_483_648, cpus: 0.5, pidsMax: 512, workspaceBytes: 2_097_152 },
    hooks: { pre: { script: 'x', timeoutMs: 7 }, always: { script: 'true', timeoutMs: 60_000 } },
    dryRun: true,
    resolvedFrom: {
      profile: 'own',
      profiles: [
        { name: 'own', version: 2 },
        { name: 'base', version: 4 },
      ],
      templates: [{ name: 'text', version: 7 }],
      promptVars: {},
    },
  })
  t.equal(secrets, null)
  t.equal(timeoutMs, 60_000)
  t.same(
    runOf(resolved({ prompt: { text: 'x' } })).payload.resolvedFrom?.templates,
    [],
    'an own text hides the template',
  )
})

t.test('what the engine has no use for is refused, where it was said', async (t) => {
  const refusalOf = (profile: Profile, overrides = {}) => runRefusal(resolved(profile, requestOf({ overrides })))
  t.equal(refusalOf({}), null)
  t.match(refusalOf({ agent: { model: 'm' } }), { code: 'PROFILE_UNUSABLE', details: [{ path: '/agent/model' }] })
  t.match(refusalOf({ tools: { deny: [] } }), { code: 'PROFILE_UNUSABLE', details: [{ path: '/tools/deny' }] })
  t.match(refusalOf({ prompt: { template: 'text', system: 's' } }), { details: [{ path: '/prompt/system' }] })
  t.match(refusalOf({}, { agent: { model: 'm' }, tools: { allow: ['a'] } }), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/overrides/agent/model' }, { path: '/overrides/tools/allow' }],
  })
  t.match(refusalOf({ limits: { tokens: 1, profile: { costMicroUsd: 1 } } }), {
    code: 'PROFILE_UNUSABLE',
    details: [{ path: '/limits/profile/costMicroUsd' }, { path: '/limits/tokens' }],
  })
  t.match(refusalOf({ mcp: { a: { command: 'a' } } }), { code: 'PROFILE_UNUSABLE', details: [{ path: '/mcp' }] })
  t.match(refusalOf({}, { limits: { requests: 0 } }), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/overrides/limits/requests' }],
  })
  t.equal(refusalOf({ network: { mode: 'hosts', hosts: ['a.test:443'] } }), null, 'a script may reach hosts')
  t.equal(
    refusalOf({
      agent: { engine: 'claude-code', model: 'm' },
      tools: { deny: [] },
      mcp: { a: { command: 'a' } },
      limits: { tokens: 1 },
    }),
    null,
  )
  t.match(refusalOf({ network: { mode: 'hosts' } }), {
    code: 'PROFILE_UNUSABLE',
    details: [{ path: '/network/hosts', message: /required/ }],
  })
})

t.test('what an engine with a model gets: everything that the profile and the request say', async (t) => {
  const of = resolved(
    {
      agent: { engine: 'claude-code', model: 'own-model' },
      tools: { allow: ['Read'], deny: [] },
      mcp: { files: { command: 'mcp-files', args: ['--root', '/workspace'], env: { A: 'b' } } },
      network: { mode: 'hosts', hosts: ['api.example.com:443', 'x.test:8443'] },
      limits: { costMicroUsd: 5, requests: 40, profile: { tokens: 7 } },
    },
    requestOf({ overrides: { limits: { costMicroUsd: 3 } } }),
  )
  const { payload, secrets } = profileRunOf({ profile: 'own' }, of, {
    ...{ shown: 'p', real: 'p' },
    system: { shown: 'be [secret]', real: 'be kind' },
  })
  t.match(payload, {
    ...{ engine: 'claude-code', model: 'own-model', system: 'be [secret]', tools: { allow: ['Read'], deny: [] } },
    mcpServers: { files: { command: 'mcp-files', args: ['--root', '/workspace'], env: { A: 'b' } } },
    egress: [
      { host: 'api.example.com', port: 443 },
      { host: 'x.test', port: 8443 },
    ],
  })
  t.same([payload.limits, payload.profileLimits], [{ costMicroUsd: 3, requests: 40 }, { tokens: 7 }])
  t.equal(secrets, null, 'no variable is secret')
})

t.test(
  'a run costs no more than the server allows, also where nobody says so, and with no maximum what it will',
  async (t) => {
    const limitsOf = (profile: Profile, runCostMicroUsdMax = MAXIMA.runCostMicroUsdMax) => {
      const documents = documentsOf(...ENGINES, profileVersion('own', { prompt: { text: 'x' }, ...profile }))
      const answer = resolve(documents, 'own', requestOf(), { ...MAXIMA, runCostMicroUsdMax })
      return answer.ok ? (runOf(answer.resolved).payload.limits ?? null) : answer.refusal
    }
    const codex: Profile = { agent: { engine: 'codex' } }
    t.same(limitsOf(codex), { costMicroUsd: 20_000_000 })
    t.same(limitsOf({ ...codex, limits: { tokens: 9 } }), { costMicroUsd: 20_000_000, tokens: 9 })
    t.same(limitsOf({ ...codex, limits: { costMicroUsd: 0 } }), { costMicroUsd: 0 }, '0 allows nothing')
    t.equal(limitsOf(codex, 0), null)
    t.equal(limitsOf({ agent: { engine: 'shell' } }), null)
    t.match(limitsOf({ ...codex, limits: { costMicroUsd: 20_000_001 } }), {
      code: 'PROFILE_UNUSABLE',
      details: [{ path: '/limits/costMicroUsd' }],
    })
    t.same(limitsOf({ ...codex, limits: { costMicroUsd: 20_000_001 } }, 0), { costMicroUsd: 20_000_001 })
  },
)

t.test('hosts that a nearer profile or a request closes are closed', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('base', { agent: { engine: 'shell' }, network: { mode: 'hosts', hosts: ['a.test:1'] } }),
    profileVersion('own', { extends: 'base', prompt: { text: 'x' } }),
    profileVersion('closed', { extends: 'own', network: { mode: 'none' } }),
  )
  const egressOf = (name: string, request = requestOf()) => {
    const answer = resolve(documents, name, request, MAXIMA)
    return answer.ok ? runOf(answer.resolved).payload.egress : answer.refusal
  }
  t.same(egressOf('own'), [{ host: 'a.test', port: 1 }])
  t.equal(egressOf('closed'), undefined)
  t.equal(egressOf('own', requestOf({ overrides: { network: { mode: 'none' } } })), undefined)
})

t.test('a prompt there has to be, and no variable has a NUL', async (t) => {
  const documents = documentsOf(...ENGINES, profileVersion('none', { agent: { engine: 'shell' } }))
  const none = resolve(documents, 'none', requestOf(), MAXIMA)
  t.match(none.ok && runRefusal(none.resolved), { code: 'INVALID_REQUEST', details: [{ path: '/overrides/prompt' }] })
  const prompt: Profile['prompt'] = { text: 'x', variables: { s: { type: 'secret' }, l: { type: 'list' } } }
  for (const [variables, path] of [
    [{ s: 'a\0' }, '/variables/s'],
    [{ l: ['a', 'b\0'] }, '/variables/l'],
  ] as const)
    t.match(runRefusal(resolved({ prompt }, requestOf({ variables: variables as never }))), {
      code: 'INVALID_REQUEST',
      details: [{ path }],
    })
})

t.test('whatever a secret is, the payload does not have it and the secrets do', async () => {
  fc.assert(
    fc.property(fc.uuid(), fc.string({ minLength: 1 }), fc.boolean(), (secret, open, isInPrompt) => {
      const variables: NonNullable<Profile['prompt']>['variables'] = {
        token: { type: 'secret' },
        open: { type: 'string' },
      }
      const of = resolved(
        { prompt: { text: 'x', variables } },
        requestOf({ variables: { token: secret, open: open.replaceAll('\0', '') } }),
      )
      const real = isInPrompt ? `with ${secret}` : 'without'
      const prompt = { shown: isInPrompt ? 'with [secret]' : 'without', real }
      const { payload, secrets } = profileRunOf({ profile: 'own' }, of, prompt)
      if (JSON.stringify(payload).includes(secret)) return false
      if (payload.resolvedFrom?.promptVars.token !== '[secret]') return false
      return secrets?.promptVars.token === secret && secrets.prompt === (isInPrompt ? real : undefined)
    }),
  )
})
