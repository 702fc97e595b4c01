# Codex. Build with `npm run images -- codex`.
FROM node:22-bookworm-slim

# The same line in every image, so that they share its layer. The certificates are for what a run reaches besides its model.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git ripgrep \
  && rm -rf /var/lib/apt/lists/*

# The lock has the hash of every part. The wrapper is left out: it is a process more that only starts the other.
COPY codex/package.json codex/package-lock.json /opt/engine/
RUN cd /opt/engine \
  && npm ci --ignore-scripts --no-audit --no-fund \
  && npm cache clean --force \
  && ln -s /opt/engine/node_modules/@openai/codex-linux-*/vendor/*/bin/codex /usr/local/bin/codex \
  && codex --version

WORKDIR /workspace
