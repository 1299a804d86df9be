import torch
from paper.draw.looking import AttentiveReader, AttentiveWriter, WholeReader, WholeWriter

SIZE = (4, 6)
IMAGES, MISSING = torch.rand(2, *SIZE), torch.rand(2, *SIZE)


def test_without_attention_both_images_are_read_whole():
    reader = WholeReader(SIZE)
    read = reader(IMAGES, MISSING, torch.zeros(2, 3))
    assert read.shape == (2, reader.outputs)
    assert torch.equal(read, torch.cat([IMAGES.flatten(1), MISSING.flatten(1)], 1))


def test_without_attention_a_linear_function_is_written():
    writer, state = WholeWriter(3, SIZE), torch.randn(2, 3)
    assert torch.equal(writer(state).flatten(1), writer.image(state))
    assert writer(state).shape == (2, *SIZE)


def test_reading_through_a_constant_image_gives_the_intensity():
    reader = AttentiveReader(3, SIZE, 2)
    torch.nn.init.zeros_(reader.window.weight)
    reader.window.bias.data = torch.tensor([0, 0, 0, 0, 2.0]).log1p()  # intensity 3, the whole image
    read = reader(torch.ones(2, *SIZE), 2 * torch.ones(2, *SIZE), torch.zeros(2, 3))
    assert read.shape == (2, reader.outputs) == (2, 8)
    torch.testing.assert_close(read, torch.tensor([3.0] * 4 + [6.0] * 4).expand(2, 8))


def test_writing_divides_by_the_intensity():
    writer, state = AttentiveWriter(3, SIZE, 2), torch.randn(2, 3)
    torch.nn.init.zeros_(writer.window.weight)
    torch.nn.init.zeros_(writer.window.bias)
    written = writer(state)
    assert written.shape == (2, *SIZE)
    writer.window.bias.data[4] = torch.tensor(4.0).log()
    torch.testing.assert_close(writer(state), written / 4)


def test_the_window_follows_the_decoder():
    reader = AttentiveReader(3, SIZE, 2)
    one, other = (reader(IMAGES, MISSING, state) for state in torch.randn(2, 2, 3))
    assert not torch.allclose(one, other)
