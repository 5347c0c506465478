# The page and the API of `diptych ui` in a container. Never built by us: the machines that test
# diptych have no container engine.
#
#   docker build -t diptych .
#   docker run -p 7860:7860 -e DIPTYCH_KEY -v "$PWD/runs/h2z:/h2z:ro" diptych /h2z
#   docker run --gpus all ...          # the same image, on an NVIDIA GPU
#
# PyTorch comes with CUDA and runs on CPUs too, but it is large. TORCH_INDEX, the --index-url that
# pytorch.org shows for CPUs (or for another CUDA, or ROCm), chooses another build:
#
#   docker build -t diptych:cpu --build-arg TORCH_INDEX=... .
FROM python:3.12-slim
ARG TORCH_INDEX
RUN pip install --no-cache-dir torch ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY . /src
RUN pip install --no-cache-dir "/src[web]" && rm -r /src && useradd --create-home diptych
USER diptych
EXPOSE 7860
ENTRYPOINT ["diptych", "ui", "--host", "0.0.0.0", "--port", "7860"]
