/** The Postman collection as a flat list of requests. */
type PostmanScript = { listen: 'prerequest' | 'test'; script: { exec: string[] } }
export type PostmanItem = {
  name: string
  item?: PostmanItem[]
  event?: PostmanScript[]
  request?: { method: string; url: { path: string[] } }
}

export type PostmanRequest = { folder: string; name: string; method: string; path: readonly string[]; tests: string }

export const postmanRequests = (items: readonly PostmanItem[], folder = ''): PostmanRequest[] =>
  items.flatMap(({ name, item, request, event = [] }) => {
    if (request === undefined) return postmanRequests(item ?? [], name)
    const tests = event.flatMap(({ listen, script }) => (listen === 'test' ? script.exec : [])).join('\n')
    return [{ folder, name, method: request.method, path: request.url.path, tests }]
  })
