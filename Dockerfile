# img2img in a container; see docs/how-to/run-in-a-container.md.
#
#     docker build -t img2img .
#     docker build -t img2img:cuda --build-arg EXTRAS=gpu,heic,serve .     # untested on a GPU
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:${PYTHON}-slim
ARG EXTRAS=heic,openvino,serve
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    wheel=$(ls /wheels/*.whl) && pip install --no-cache-dir "${wheel}[${EXTRAS}]" \
    && useradd --create-home --uid 1000 img2img
USER img2img
WORKDIR /data
# A server is asked for by name: IMG2IMG_TOKEN must be set, since others than this container reach it.
EXPOSE 8000
ENTRYPOINT ["img2img"]
CMD ["--help"]
