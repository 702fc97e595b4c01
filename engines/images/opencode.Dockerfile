# OpenCode. Build with `npm run images -- opencode`.
FROM node:22-bookworm-slim

# The same line in every image, so that they share its layer. The certificates are for what a run reaches besides its model.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git ripgrep \
  && rm -rf /var/lib/apt/lists/*

# The lock has the hash of every part. Of two builds for x64 the one stays that runs on every processor.
COPY opencode/package.json opencode/package-lock.json /opt/engine/
RUN cd /opt/engine \
  && npm ci --ignore-scripts --no-audit --no-fund \
  && npm cache clean --force \
  && if [ -d node_modules/opencode-linux-x64-baseline ]; then rm -rf node_modules/opencode-linux-x64; fi \
  && ln -s /opt/engine/node_modules/opencode-linux-*/bin/opencode /usr/local/bin/opencode \
  && HOME=/tmp opencode --version \
  && rm -rf /tmp/* /tmp/.[a-z]*

WORKDIR /workspace
