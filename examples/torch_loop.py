"""PyTorch: a plain loop that reports, writes checkpoints, stops when it is asked to, and goes on after any kill.

python torch_loop.py --epochs 60 --lr 0.01
"""

import argparse

import torch

from cbi_queue.client import training

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--lr", type=float, default=0.01)
options = parser.parse_args()

torch.manual_seed(0)
inputs = torch.randn(2000, 8)
targets = torch.sin(inputs.sum(1, keepdim=True))
net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)

if (path := training.resume_from()) is not None:
    saved = torch.load(path, weights_only=True)
    net.load_state_dict(saved["net"])
    optimizer.load_state_dict(saved["optimizer"])
    print("goes on after epoch", training.resumed_epoch, flush=True)

for epoch in training.epochs(options.epochs):
    for batch in torch.arange(len(inputs)).split(64):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(inputs[batch]), targets[batch])
        loss.backward()
        optimizer.step()
    training.report(epoch, of=options.epochs, loss=loss.item(), samples=len(inputs))
    if training.checkpoint_due(every_s=1):  # so short an interval suits so small a net
        with training.save(epoch, ".pt") as path:
            torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, path)

with torch.no_grad():
    training.metric("mse", torch.nn.functional.mse_loss(net(inputs), targets).item())
torch.save(net.state_dict(), training.output_dir / "net.pt")
